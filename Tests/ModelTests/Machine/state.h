// What the parts of the machine know of each other.
#ifndef MODEL_STATE_H
#define MODEL_STATE_H

#include "CMempoolShims.h"
#include "machine.h"
#include <setjmp.h>
#include <stdbool.h>
#include <string.h>

enum {
  MEMORY_BYTES = 6 << 20,
  GLOBAL_BYTES = 256 << 10,
  WORDS = (MEMORY_BYTES + GLOBAL_BYTES) / 8,
  SITES = 512,       // ordered operations of the engine's
  PLACES = 256,      // words that more than one thread uses, and at least one changes
  MESSAGES = 8192,
  EVENTS = 8192,
  WORK = 1 << 18,
  STACK_BYTES = 256 << 10,
};

// What a thread knows: of each place up to which message, of each thread up to which of its epochs.
typedef struct view {
  uint16_t seen[PLACES];
  uint16_t clock[MP_MODEL_THREADS];
} view;

// A value that was written to a place. The newest one's value is what is in memory.
typedef struct message {
  mp_word value;
  uint64_t hash;
  int older;       // -1: the one from before the run
  uint16_t number;
  view view;       // what whoever acquires it learns
} message;

typedef struct place {
  mp_word *address;
  mp_word first;   // its value before the run
  int newest;      // -1: that one
  uint16_t number; // of the newest
  uint64_t head;   // hash of all messages, in their order
} place;

typedef enum thread_state {
  RUNNABLE,
  SLEEPING,  // or pausing: until somebody changes what it has read since it last did, or for as long as it takes
  WAITING,   // in the kernel, on a word
  STOPPED,   // for ever
  ENDED
} thread_state;

typedef struct thread {
  thread_state state;
  bool is_due;                   // SLEEPING: something has changed
  bool may_stop;
  uint64_t read[PLACES / 64];    // places looked at since it last slept
  uintptr_t waits_on;
  uint64_t hash;                 // of everything that it has observed
  unsigned plain_writes;
  int sleeps;
  view current, acquired, released;
  jmp_buf context;
  bool is_started;
} thread;

typedef struct machine {
  bool is_running;
  bool is_guarded;    // a check runs
  bool is_new;        // no earlier run has come this far
  int current;        // -1: nobody, the scenario's own code runs
  int mutant, site, weakened;
  mp_order without;
  int site_uses[SITES];
  mp_run run;
  mp_body body;
  mp_chooser chooser;
  void *chooser_context;
  thread threads[MP_MODEL_THREADS];
  int place_count;
  place places[PLACES];
  message messages[MESSAGES];
  int message_count;
  uint64_t heads;     // sum over the places
  view sequential;    // what full fences have seen
  uint64_t sequential_hash;
  int stopped, steps, events;
  int work;           // accesses of any kind, so that a loop that leads back into itself is noticed
  bool preempted;     // the next event is the first after a preemption
  mp_event event[EVENTS];
  mp_outcome outcome;
  char failure[256];
  uintptr_t failure_address;
} machine;

extern machine the_machine;
#define M the_machine

// threads.c
void yield_point(void);                     // before an operation on a place: somebody else may go first
void suspend(thread_state state);
int choose_message(int readable);           // how many messages older than the newest
void record(mp_operation operation, mp_order order, uintptr_t address, mp_word expected, mp_word operand, mp_word found, int age);
_Noreturn void end_run(mp_outcome outcome);
_Noreturn void fail_at(const char *what, uintptr_t address);
_Noreturn void start_again(void);
void place_changed(int place);              // wakes who looked at it

// memory.c
size_t offset_of(uintptr_t address);               // of a byte that threads may share, from 0; SIZE_MAX for others
void memory_restart(void);
void memory_begin(void);
void memory_ready(void);
void memory_restore(void);
void note_write(uintptr_t address, size_t size);   // it will differ from what it was before the run
void plain_write_of_place(size_t word, thread *self);
bool keeps_order(size_t word);

// floor0.c
void system_restart(void);

// races.c
void races_restart(void);
void plain_access(uintptr_t address, size_t size, bool is_write);
void atomic_access(size_t word, unsigned bytes, bool is_write, uintptr_t address);

static inline uint64_t mix(uint64_t hash, uint64_t value) {
  hash ^= value + 0x9e3779b97f4a7c15u + (hash << 6) + (hash >> 2);
  hash *= 0xff51afd7ed558ccdu;
  return hash ^ hash >> 32;
}

#endif
