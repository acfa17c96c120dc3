// The machine that model threads run on: a memory with histories, and a scheduler that asks somebody else what happens next.
//
// Threads are coroutines of one thread of the system, so a run is determined by the answers. Not reentrant.
#ifndef MODEL_MACHINE_H
#define MODEL_MACHINE_H

#include "../Floor0/model_atomics.h"
#include <stddef.h>

enum { MP_MODEL_THREADS = 4, MP_MODEL_OPTIONS = 8, MP_MODEL_LOCK_BYTES = 512 };

// --- Memory. What threads share lies here; everything else is each thread's own.
void *_Nonnull mp_machine_memory(void);
size_t mp_machine_memory_size(void);

// --- A scenario. Between these two, operations are plain ones: the scenario is set up, by one thread or as several in turn.
void mp_machine_begin(void);
void mp_machine_as(int thread);          // whose thread block counts during set-up, and when a run is checked
void mp_machine_ready(void);             // each run starts from here

// --- A run.
typedef enum mp_choice_kind { MP_CHOOSE_THREAD, MP_CHOOSE_MESSAGE } mp_choice_kind;

typedef struct mp_option {
  int which;  // a thread, or how many messages older than the newest
  int cost;   // 0: what would happen anyway; 1: a preemption, a stale value, a sleep cut short, a thread stopped
  int early;  // the thread sleeps, and nothing that it has looked at has changed
} mp_option;

typedef struct mp_point {
  uint64_t state;  // a hash of all that what follows depends on: who has seen what of whom
  mp_choice_kind kind;
  int current;     // who runs
  int count;
  mp_option options[MP_MODEL_OPTIONS];
} mp_point;

// The index of an option, or -1: this run is of no interest any more.
typedef int (*mp_chooser)(void *_Nullable context, const mp_point *_Nonnull point);
typedef void (*mp_body)(int thread);

typedef enum mp_outcome {
  MP_DONE,     // all threads ended; or all but one that was stopped
  MP_GIVEN_UP, // the chooser said so
  MP_FAILED,   // mp_machine_failure says why
  MP_AGAIN     // a word turned out to be shared that was not known to be: what was explored so far does not count
} mp_outcome;

typedef struct mp_run {
  int threads;
  int steps;       // at most, operations on shared words
  int stoppable;   // a thread that may be stopped for ever at any point, or -1
  int records;     // whether events are kept
  int weak;        // whether loads may read what is not the newest
  // Looks at all that is there, the newest of it, between any two operations on shared words; changes nothing, fails the run if it is wrong.
  void (*_Nullable look)(void);
  // Looks at each change of a word that is watched.
  void (*_Nullable changed)(int thread, uintptr_t address, mp_word before, mp_word after);
} mp_run;

mp_outcome mp_machine_run(
    const mp_run *_Nonnull run, mp_body _Nonnull body, mp_chooser _Nonnull chooser, void *_Nullable context);
// Runs a check of what is there after a run: MP_DONE, or MP_FAILED when it traps or aborts.
mp_outcome mp_machine_guard(void (*_Nonnull check)(void));
const char *_Nonnull mp_machine_failure(void);
uintptr_t mp_machine_failure_address(void);  // what it is about; 0: nothing
int mp_machine_steps(void);
int mp_machine_stopped(void);            // the thread that was stopped, or -1
int mp_machine_sleeps(int thread);       // sleeps in this run
int mp_machine_shared_words(void);

// --- What happened.
typedef struct mp_event {
  int thread;
  mp_operation operation;
  mp_order order;
  int age;                 // of a load: messages older than the newest
  int preempts;            // the thread before it could have gone on
  uintptr_t address;
  mp_word expected, operand, found;
  const char *_Nullable note;
} mp_event;

void mp_machine_print_by_line(void);     // what is printed arrives at once
int mp_machine_event_count(void);
const mp_event *_Nonnull mp_machine_event(int index);

// --- For model threads.
int mp_model_thread(void);                                      // which one runs; -1: none
void mp_model_note(const char *_Nonnull text, mp_word value);   // a line in the table of what happened
_Noreturn void mp_model_fail(const char *_Nonnull what);
void mp_model_write(void *_Nonnull address, mp_word value);     // plain: races with other accesses are failures
mp_word mp_model_read(const void *_Nonnull address);
void mp_model_stoppable(int may);                               // from here on the thread may be stopped, or may not

// A word each write of which must come after each earlier read of it, by what their threads acquire: in this machine a read that may
// be delayed sees nothing newer for it, so this is how it is noticed. For this scenario.
void mp_machine_keep_order(void *_Nonnull address);

// A word whose changes the run's `changed` is told of. For this scenario.
void mp_machine_watch(void *_Nonnull address);

// Whether what happens from here on in this run has happened in no earlier one, and is looked at.
void mp_machine_is_new(int is_new);

// --- Which mutant is at work, 0: none; and which ordered operation lacks which part of its order.
void mp_machine_set_mutant(int mutant);
void mp_machine_weaken(int site, mp_order without);
int mp_machine_site_uses(int site);      // how often it was executed by threads since the scenario began

#endif
