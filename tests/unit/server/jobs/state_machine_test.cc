#include "server/jobs/state_machine.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace lathe::server {
namespace {

using Event = JobEventKind;
using v1::JobState;

constexpr JobState kPending = v1::JOB_STATE_PENDING;
constexpr JobState kRunning = v1::JOB_STATE_RUNNING;
constexpr JobState kCancelling = v1::JOB_STATE_CANCELLING;
constexpr JobState kSucceeded = v1::JOB_STATE_SUCCEEDED;
constexpr JobState kFailed = v1::JOB_STATE_FAILED;
constexpr JobState kCancelled = v1::JOB_STATE_CANCELLED;
constexpr JobState kStates[] = {kPending, kRunning, kCancelling, kSucceeded, kFailed, kCancelled};

// Effects as letters, so that a row of the table below is one word: B begin attempt, E end attempt,
// U uncount, N requeue now, R requeue after backoff, S stop worker, P publish, X attempts
// exhausted, T ended (terminal), = unchanged.
std::string Effects(const JobTransition& t) {
  std::string out;
  if (t.begin_attempt) out += 'B';
  if (t.end_attempt) out += 'E';
  if (t.uncount_attempt) out += 'U';
  if (t.requeue_now) out += 'N';
  if (t.requeue_after_backoff) out += 'R';
  if (t.stop_worker) out += 'S';
  if (t.publish_result) out += 'P';
  if (t.attempts_exhausted) out += 'X';
  if (t.ended) out += 'T';
  if (t.unchanged) out += '=';
  return out;
}

using Row = std::pair<JobState, std::string>;  // next state, effects
// Every pair that is allowed while attempts are left; all others must be refused.
const std::map<std::pair<JobState, Event>, Row>& Table() {
  static const auto* table = new std::map<std::pair<JobState, Event>, Row>{
      {{kPending, Event::kLeased}, {kRunning, "B"}},
      {{kPending, Event::kCancelRequested}, {kCancelled, "T"}},
      {{kPending, Event::kPendingDeadline}, {kFailed, "T"}},
      {{kRunning, Event::kSucceeded}, {kSucceeded, "EPT"}},
      {{kRunning, Event::kFailedTransient}, {kPending, "ER"}},
      {{kRunning, Event::kLeaseLost}, {kPending, "ER"}},
      {{kRunning, Event::kStopped}, {kPending, "ER"}},
      {{kRunning, Event::kFailedPermanent}, {kFailed, "ET"}},
      {{kRunning, Event::kRunDeadline}, {kFailed, "ET"}},
      {{kRunning, Event::kInterrupted}, {kPending, "EUN"}},
      {{kRunning, Event::kCancelRequested}, {kCancelling, "S"}},
      {{kCancelling, Event::kSucceeded}, {kCancelled, "ET"}},
      {{kCancelling, Event::kFailedTransient}, {kCancelled, "ET"}},
      {{kCancelling, Event::kFailedPermanent}, {kCancelled, "ET"}},
      {{kCancelling, Event::kInterrupted}, {kCancelled, "ET"}},
      {{kCancelling, Event::kStopped}, {kCancelled, "ET"}},
      {{kCancelling, Event::kLeaseLost}, {kCancelled, "ET"}},
      {{kCancelling, Event::kRunDeadline}, {kCancelled, "ET"}},
      {{kCancelling, Event::kCancelRequested}, {kCancelling, "="}},
      {{kSucceeded, Event::kCancelRequested}, {kSucceeded, "="}},
      {{kFailed, Event::kCancelRequested}, {kFailed, "="}},
      {{kCancelled, Event::kCancelRequested}, {kCancelled, "="}},
  };
  return *table;
}

TEST(StateMachine, EveryStateWithEveryEventDoesWhatTheTableSaysOrIsRefused) {
  for (const JobState state : kStates) {
    for (const Event event : kAllJobEvents) {
      SCOPED_TRACE(absl::StrCat(v1::JobState_Name(state), " ", JobEventKindName(event)));
      const auto transition = ApplyJobEvent(state, event, {/*counted=*/1, /*max=*/3});
      const auto row = Table().find({state, event});
      if (row == Table().end()) {
        EXPECT_EQ(transition.status().code(), absl::StatusCode::kFailedPrecondition);
        EXPECT_NE(std::string(transition.status().message()).find(v1::JobState_Name(state)),
                  std::string::npos);
        continue;
      }
      ASSERT_TRUE(transition.ok()) << transition.status();
      EXPECT_EQ(transition->next, row->second.first);
      EXPECT_EQ(Effects(*transition), row->second.second);
    }
  }
}

TEST(StateMachine, TransientFailuresEndTheJobOnceNoAttemptIsLeft) {
  for (const Event event : {Event::kFailedTransient, Event::kLeaseLost, Event::kStopped}) {
    for (int counted = 1; counted <= 4; ++counted) {
      const auto transition = ApplyJobEvent(kRunning, event, {counted, 3});
      ASSERT_TRUE(transition.ok());
      EXPECT_EQ(transition->next, counted < 3 ? kPending : kFailed);
      EXPECT_EQ(Effects(*transition), counted < 3 ? "ER" : "EXT");
    }
  }
}

TEST(StateMachine, AnInterruptionIsRetriedHoweverManyAttemptsThereWere) {
  const auto transition = ApplyJobEvent(kRunning, Event::kInterrupted, {3, 3});
  ASSERT_TRUE(transition.ok());
  EXPECT_EQ(transition->next, kPending);
}

TEST(StateMachine, TerminalStatesNeverChangeAndEndedMeansTerminal) {
  for (const JobState state : kStates) {
    for (const Event event : kAllJobEvents) {
      for (const int counted : {0, 1, 3}) {
        const auto transition = ApplyJobEvent(state, event, {counted, 3});
        if (!transition.ok()) continue;
        if (IsTerminal(state)) {
          EXPECT_EQ(transition->next, state);
          EXPECT_TRUE(transition->unchanged);
        }
        EXPECT_EQ(transition->ended, !IsTerminal(state) && IsTerminal(transition->next));
      }
    }
  }
}

TEST(StateMachine, AnUnspecifiedStateRefusesEverything) {
  for (const Event event : kAllJobEvents) {
    EXPECT_FALSE(ApplyJobEvent(v1::JOB_STATE_UNSPECIFIED, event, {1, 3}).ok());
  }
}

}  // namespace
}  // namespace lathe::server
