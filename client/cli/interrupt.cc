#include "client/cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace lathe::cli {
namespace {

std::atomic<int> pending{0};
std::atomic<int> total{0};
static_assert(std::atomic<int>::is_always_lock_free, "used in a signal handler");

void OnSignal(int) {
  ++pending;
  if (++total >= 3) _exit(130);
}

}  // namespace

void InstallInterruptHandler() {
  struct sigaction action {};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

int InterruptCount() { return pending; }
void ForgetInterrupts() { pending = 0; }

}  // namespace lathe::cli
