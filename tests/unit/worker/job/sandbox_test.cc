// The sandbox, tried from inside: each test locks a forked child in and lets it do what a hostile
// model would.
#include "worker/job/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "absl/status/status.h"
#include "common/ids.h"
#include "worker/job/ort_access.h"

namespace lathe::worker {
namespace {

// Runs `body` in a child and gives its exit code, or 1000 + the signal that ended it.
int InChild(const std::function<int()>& body) {
  fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

// 0 when the call failed with `expected`, else what happened.
int FailedWith(long result, int expected) {
  if (result >= 0) return 200;
  return errno == expected ? 0 : errno;
}

class SandboxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + "/sandbox-" + RandomIdGenerator().NewId();
    for (const char* name : {"/in", "/out", "/other"}) {
      std::filesystem::create_directories(root_ + name);
    }
    std::ofstream(root_ + "/in/model") << "weights";
    std::ofstream(root_ + "/other/secret") << "token";
    options_.read_folders = {root_ + "/in"};
    options_.write_folders = {root_ + "/out"};
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  // 100 when the sandbox could not be entered.
  int InSandbox(const std::function<int()>& body) {
    return InChild([&] {
      const auto applied = EnterSandbox(options_);
      if (!applied.ok()) {
        fprintf(stderr, "%s\n", applied.status().ToString().c_str());
        return 100;
      }
      return body();
    });
  }

  std::string root_;
  SandboxOptions options_;
};

TEST_F(SandboxTest, NoSocketsOfAnyKind) {
  for (const int family : {AF_INET, AF_INET6, AF_UNIX, AF_NETLINK}) {
    EXPECT_EQ(InSandbox([&] { return FailedWith(socket(family, SOCK_DGRAM, 0), EPERM); }), 0)
        << family;
  }
  EXPECT_EQ(InSandbox([] {
              int ends[2];
              return FailedWith(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), EPERM);
            }),
            0);
}

TEST_F(SandboxTest, AnInheritedSocketIsUseless) {
  const int opened = socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_GE(opened, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  EXPECT_EQ(InSandbox([&] { return FailedWith(connect(opened, generic, sizeof(address)), EPERM); }),
            0);
  EXPECT_EQ(InSandbox([&] { return FailedWith(bind(opened, generic, sizeof(address)), EPERM); }),
            0);
  EXPECT_EQ(InSandbox([&] { return FailedWith(listen(opened, 1), EPERM); }), 0);
  EXPECT_EQ(InSandbox([&] { return FailedWith(sendto(opened, "x", 1, 0, nullptr, 0), EPERM); }), 0);
  close(opened);
}

TEST_F(SandboxTest, NoOtherProgramsAndNoOtherProcesses) {
  EXPECT_EQ(InSandbox([] { return FailedWith(execl("/bin/true", "true", nullptr), EPERM); }), 0);
  EXPECT_EQ(InSandbox([] { return FailedWith(fork(), EPERM); }), 0);
  EXPECT_EQ(InSandbox([] { return FailedWith(vfork(), EPERM); }), 0);
  EXPECT_EQ(InSandbox([] { return FailedWith(ptrace(PTRACE_ATTACH, getppid(), 0, 0), EPERM); }), 0);
  EXPECT_EQ(InSandbox([] { return FailedWith(kill(getppid(), 0), EPERM); }), 0);
}

TEST_F(SandboxTest, NoWayOutOfItsLimits) {
  EXPECT_EQ(InSandbox([] { return FailedWith(mount("none", "/mnt", "tmpfs", 0, ""), EPERM); }), 0);
  EXPECT_EQ(InSandbox([] { return FailedWith(chroot("/"), EPERM); }), 0);
  EXPECT_EQ(InSandbox([] { return FailedWith(setuid(0), EPERM); }), 0);
  EXPECT_EQ(InSandbox([] {
              const rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
              return FailedWith(setrlimit(RLIMIT_CPU, &none), EPERM);
            }),
            0);
  EXPECT_EQ(InSandbox([] { return FailedWith(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), EPERM); }), 0);
}

TEST_F(SandboxTest, ThreadsWork) {
  EXPECT_EQ(InSandbox([] {
              int value = 0;
              std::thread([&value] { value = 42; }).join();
              return value == 42 ? 0 : 1;
            }),
            0);
}

TEST_F(SandboxTest, AbortStillAborts) {
  EXPECT_EQ(InSandbox([]() -> int {
              signal(SIGABRT, SIG_DFL);
              abort();
            }),
            1000 + SIGABRT);
}

TEST_F(SandboxTest, ReadsInputsAndWritesOutputs) {
  EXPECT_EQ(InSandbox([this] {
              std::ifstream in(root_ + "/in/model");
              std::string text;
              if (!(in >> text) || text != "weights") return 1;
              std::filesystem::create_directory(root_ + "/out/folder");
              std::ofstream(root_ + "/out/folder/a") << "result";
              std::error_code error;
              std::filesystem::rename(root_ + "/out/folder/a", root_ + "/out/b", error);
              if (error) return 2;
              std::filesystem::resize_file(root_ + "/out/b", 3, error);
              if (error) return 3;
              std::filesystem::remove(root_ + "/out/folder", error);
              return error ? 4 : 0;
            }),
            0);
  EXPECT_EQ(std::filesystem::file_size(root_ + "/out/b"), 3u);
}

TEST_F(SandboxTest, TouchesNoOtherFile) {
  if (LandlockVersion() == 0) GTEST_SKIP() << "this kernel has no Landlock";
  const auto open_path = [this](const char* name, int flags) {
    return open((root_ + name).c_str(), flags, 0600);
  };
  EXPECT_EQ(InSandbox([&] { return FailedWith(open_path("/other/secret", O_RDONLY), EACCES); }), 0);
  EXPECT_EQ(InSandbox([&] { return FailedWith(open_path("/in/model", O_WRONLY), EACCES); }), 0);
  EXPECT_EQ(InSandbox([&] { return FailedWith(open_path("/in/new", O_CREAT | O_WRONLY), EACCES); }),
            0);
  EXPECT_EQ(
      InSandbox([&] { return FailedWith(truncate((root_ + "/in/model").c_str(), 0), EACCES); }), 0);
  EXPECT_EQ(InSandbox([] { return FailedWith(open("/etc/passwd", O_RDONLY), EACCES); }), 0);
  EXPECT_EQ(InSandbox([&] {
              return FailedWith(symlink("/etc/passwd", (root_ + "/out/link").c_str()), EPERM);
            }),
            0);
}

TEST_F(SandboxTest, AFileThatIsNamedMayBeReadAndItsNeighboursMayNot) {
  if (LandlockVersion() == 0) GTEST_SKIP() << "this kernel has no Landlock";
  std::ofstream(root_ + "/other/library.so") << "code";
  options_.read_files = {root_ + "/other/library.so", root_ + "/other/not-there"};
  const auto open_path = [this](const char* name, int flags) {
    return open((root_ + name).c_str(), flags, 0600);
  };
  EXPECT_EQ(InSandbox([&] { return open_path("/other/library.so", O_RDONLY) >= 0 ? 0 : errno; }),
            0);
  EXPECT_EQ(InSandbox([&] { return FailedWith(open_path("/other/library.so", O_WRONLY), EACCES); }),
            0);
  EXPECT_EQ(InSandbox([&] { return FailedWith(open_path("/other/secret", O_RDONLY), EACCES); }), 0);
}

TEST_F(SandboxTest, AnOrtLibraryOpensNoMoreThanLibrariesAndTheProcessor) {
  if (LandlockVersion() == 0) GTEST_SKIP() << "this kernel has no Landlock";
  for (const char* name : {"/other/libonnxruntime.so.1", "/other/libneeded.so", "/other/libtext"}) {
    std::ofstream(root_ + name) << "code";
  }
  AllowOrtLibrary(root_ + "/other/libonnxruntime.so.1", &options_);
  const auto readable = [this](const std::string& path) {
    return InSandbox([&] { return open(path.c_str(), O_RDONLY) >= 0 ? 0 : errno; });
  };
  EXPECT_EQ(readable(root_ + "/other/libonnxruntime.so.1"), 0);
  EXPECT_EQ(readable(root_ + "/other/libneeded.so"), 0);
  EXPECT_EQ(readable("/proc/cpuinfo"), 0);
  for (const std::string& path : {root_ + "/other/libtext", root_ + "/other/secret",
                                  std::string("/etc/passwd"), std::string("/proc/self/environ")}) {
    EXPECT_EQ(readable(path), EACCES) << path;
  }
}

TEST_F(SandboxTest, LargeFilesAndCoresAreBounded) {
  options_.limits.file_bytes = 1 << 20;
  EXPECT_EQ(InSandbox([this] {
              const int fd = open((root_ + "/out/big").c_str(), O_CREAT | O_WRONLY, 0600);
              const std::string half(512 << 10, 'x');
              for (int i = 0; i < 2; ++i) {
                if (write(fd, half.data(), half.size()) != static_cast<ssize_t>(half.size())) {
                  return 1;
                }
              }
              return FailedWith(write(fd, half.data(), half.size()), EFBIG);
            }),
            0);
  EXPECT_EQ(InSandbox([] {
              rlimit core;
              getrlimit(RLIMIT_CORE, &core);
              return core.rlim_max == 0 ? 0 : 1;
            }),
            0);
}

TEST_F(SandboxTest, MemoryPastTheLimitIsRefused) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers reserve more than any limit";
#endif
  options_.limits.memory_bytes = 64 << 20;
  EXPECT_EQ(InSandbox([] {
              void* volatile much = malloc(size_t{4} << 30);
              return much == nullptr ? 0 : 1;
            }),
            0);
}

TEST_F(SandboxTest, ProcessorTimeIsBounded) {
  EXPECT_EQ(InChild([] {
              if (!ApplyResourceLimits({0, 1, 0}).ok()) return 100;
              rlimit cpu;
              getrlimit(RLIMIT_CPU, &cpu);
              return cpu.rlim_cur == 1 && cpu.rlim_max == 6 ? 0 : 1;
            }),
            0);
}

TEST_F(SandboxTest, AnOrphanDoesNotStart) {
  options_.parent_pid = 1;  // not this process
  EXPECT_EQ(InSandbox([] { return 0; }), 100);
}

TEST_F(SandboxTest, TellsWhatWasApplied) {
  EXPECT_EQ(InChild([this] {
              const auto applied = EnterSandbox(options_);
              return applied.ok() && applied->find("seccomp") != std::string::npos &&
                             applied->find("no-capabilities") != std::string::npos
                         ? 0
                         : 1;
            }),
            0);
}

}  // namespace
}  // namespace lathe::worker
