// Ctrl-C: the first one asks for an orderly stop, the third ends the program at once.
#ifndef LATHE_CLIENT_CLI_INTERRUPT_H_
#define LATHE_CLIENT_CLI_INTERRUPT_H_

namespace lathe::cli {

// Installs handlers for SIGINT and SIGTERM; call once from main.
void InstallInterruptHandler();
// How often the user has asked to stop.
int InterruptCount();
// Counts as not asked: for the orderly stop itself, which needs working calls.
void ForgetInterrupts();

}  // namespace lathe::cli

#endif  // LATHE_CLIENT_CLI_INTERRUPT_H_
