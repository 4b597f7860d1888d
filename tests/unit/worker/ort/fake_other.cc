// A library with nothing of ONNX Runtime's.
extern "C" int LatheOtherLibrary();
extern "C" int LatheOtherLibrary() { return 1; }
