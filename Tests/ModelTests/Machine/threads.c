// Model threads: coroutines, of which one runs until it comes to an operation that others could see. Then the chooser says who
// goes on.
#include "state.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

machine the_machine = {.current = -1, .stopped = -1};

static jmp_buf host;
static unsigned char stacks[MP_MODEL_THREADS][STACK_BYTES] __attribute__((aligned(64)));

void end_run(mp_outcome outcome) {
  if (!M.is_running && !M.is_guarded) {
    fprintf(stderr, "model: outside of a run: %s\n", M.failure);
    exit(70);
  }
  M.outcome = outcome;
  M.is_running = false;
  M.current = -1;
  _longjmp(host, 1);
}

void fail_at(const char *what, uintptr_t address) {
  snprintf(M.failure, sizeof M.failure, "%s", what);
  M.failure_address = address;
  end_run(MP_FAILED);
}

void start_again(void) { end_run(MP_AGAIN); }

void mp_model_fail(const char *what) { fail_at(what, 0); }

static void enter(void) {
  M.body(M.current);
  thread *self = &M.threads[M.current];
  self->hash = mix(self->hash, 4);
  suspend(ENDED);
  __builtin_unreachable();
}

static _Noreturn void start(int which) {
  M.current = which;
  M.threads[which].is_started = true;
  ucontext_t begin;
  getcontext(&begin);
  begin.uc_stack.ss_sp = stacks[which];
  begin.uc_stack.ss_size = STACK_BYTES;
  begin.uc_link = NULL;
  makecontext(&begin, enter, 0);
  setcontext(&begin);
  __builtin_trap();
}

static void switch_to(int next) {
  thread *from = &M.threads[M.current], *to = &M.threads[next];
  // No signal mask: it is the same for all, and saving it would be a system call.
  if (from->state != ENDED && _setjmp(from->context)) return;
  M.current = next;
  if (to->is_started) _longjmp(to->context, 1);
  start(next);
}

// --- Choosing

static uint64_t state_hash(void) {
  uint64_t hash = mix(M.heads, M.sequential_hash);
  for (int i = 0; i < M.run.threads; i++) {
    const thread *thread = &M.threads[i];
    hash = mix(hash, thread->hash);
    hash = mix(hash, (uint64_t)thread->state | (uint64_t)thread->is_due << 8 | (uint64_t)thread->may_stop << 9);
    hash = mix(hash, thread->waits_on << 1 | thread->is_started);
  }
  return hash;
}

static int ask(mp_point *point) {
  point->state = state_hash();
  point->current = M.current;
  int index = M.chooser(M.chooser_context, point);
  if (index < 0 || index >= point->count) end_run(MP_GIVEN_UP);
  return index;
}

int choose_message(int readable) {
  mp_point point = {.kind = MP_CHOOSE_MESSAGE, .count = readable < MP_MODEL_OPTIONS ? readable : MP_MODEL_OPTIONS};
  for (int i = 0; i < point.count; i++) point.options[i] = (mp_option){i, i > 0, 0};
  return ask(&point);
}

static bool can_go_on(const thread *thread) {
  return thread->state == RUNNABLE || (thread->state == SLEEPING && thread->is_due);
}

// Who runs next. Going on costs nothing, nor does going to somebody else from a thread that cannot.
static int choose_thread(void) {
  mp_point point = {.kind = MP_CHOOSE_THREAD};
  bool goes_on = can_go_on(&M.threads[M.current]), any = false, waits = false;
  for (int i = 0; i < M.run.threads; i++) {
    int which = (M.current + i) % M.run.threads;
    const thread *thread = &M.threads[which];
    if (can_go_on(thread)) {
      any = true;
      point.options[point.count++] = (mp_option){which, i > 0 && goes_on, 0};
    } else if (thread->state == SLEEPING) {
      point.options[point.count++] = (mp_option){which, 1, 1};
    } else if (thread->state != ENDED && thread->state != STOPPED) {
      waits = true;
    }
  }
  // Nobody else changes anything: time passes.
  if (!any)
    for (int i = 0; i < point.count; i++) point.options[i].cost = 0;
  if (M.threads[M.current].state == RUNNABLE && M.current == M.run.stoppable && M.threads[M.current].may_stop)
    point.options[point.count++] = (mp_option){MP_MODEL_THREADS, 1, 0};
  if (!point.count) {
    if (waits) fail_at(M.stopped < 0 ? "no thread can go on" : "no thread can go on while one is stopped", 0);
    end_run(MP_DONE);
  }
  int index = point.count > 1 ? ask(&point) : 0;
  M.preempted = point.options[index].which != M.current && goes_on;
  return point.options[index].which;
}

static void go_on(void) {
  int next = choose_thread();
  if (next == MP_MODEL_THREADS) {
    M.stopped = M.current;
    M.threads[M.current].state = STOPPED;
    record(MP_NOTE, 0, 0, 0, 0, 0, 0);
    M.event[M.events ? M.events - 1 : 0].note = "is stopped for ever";
    next = choose_thread();
  }
  if (next != M.current) switch_to(next);
}

// What looks reads as nobody, so that it leaves no trace.
static void look(void) {
  if (!M.run.look || !M.is_new) return;
  int current = M.current, work = M.work;
  M.current = -1;
  M.run.look();
  M.current = current;
  M.work = work;
}

void mp_machine_is_new(int is_new) { M.is_new = is_new; }

void yield_point(void) {
  if (++M.steps > M.run.steps) fail_at("does not come to an end", 0);
  look();
  go_on();
}

void suspend(thread_state state) {
  thread *self = &M.threads[M.current];
  self->state = state;
  self->is_due = false;
  look();
  if (state == ENDED) go_on();
  if (++M.steps > M.run.steps) fail_at("does not come to an end", 0);
  for (int i = 0; i < M.place_count; i++)
    if (self->read[i / 64] >> (i % 64) & 1 && self->current.seen[i] < M.places[i].number) self->is_due = true;
  go_on();
  self->state = RUNNABLE;
  self->hash = mix(self->hash, 3);
  // While it slept, what others had written arrived.
  for (int i = 0; i < M.place_count; i++) {
    if (!(self->read[i / 64] >> (i % 64) & 1)) continue;
    self->current.seen[i] = M.places[i].number;
    self->hash = mix(self->hash, M.places[i].head);
  }
  memset(self->read, 0, sizeof self->read);
}

void place_changed(int place) {
  for (int i = 0; i < M.run.threads; i++) {
    thread *other = &M.threads[i];
    if (other->state == SLEEPING && other->read[place / 64] >> (place % 64) & 1) other->is_due = true;
  }
}

// --- Running

// The engine's own checks trap, and a broken record leads anywhere: both are failures of the run.
static void trapped(int signal) {
  bool is_check = signal == SIGILL || signal == SIGTRAP;
  fail_at(is_check ? "a trap: an overflow, or a value that cannot be" : "an address that cannot be", 0);
}

static void catch_traps(void) {
  static bool is_done;
  if (is_done) return;
  is_done = true;
  // Not on the stack that may be what is broken. No signal is masked meanwhile: the handler does not return.
  static unsigned char stack[64 << 10];
  stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
  sigaltstack(&alternative, NULL);
  struct sigaction action = {.sa_handler = trapped, .sa_flags = SA_ONSTACK | SA_NODEFER};
  int signals[] = {SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE};
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) sigaction(signals[i], &action, NULL);
}

mp_outcome mp_machine_guard(void (*check)(void)) {
  M.outcome = MP_DONE;
  M.is_guarded = true;
  if (!_setjmp(host)) check();
  M.is_guarded = false;
  return M.outcome;
}

mp_outcome mp_machine_run(const mp_run *run, mp_body body, mp_chooser chooser, void *context) {
  M.run = *run;
  M.body = body;
  M.chooser = chooser;
  M.chooser_context = context;
  M.stopped = -1;
  M.steps = M.events = 0;
  M.sequential_hash = 0;
  memset(&M.sequential, 0, sizeof M.sequential);
  for (int i = 0; i < run->threads; i++) {
    thread *thread = &M.threads[i];
    memset(thread, 0, offsetof(struct thread, context));
    thread->is_started = false;
    thread->may_stop = true;
    thread->current.clock[i] = 1;
  }
  memory_restart();
  catch_traps();
  M.failure[0] = 0;
  M.failure_address = 0;
  M.outcome = MP_DONE;
  if (!_setjmp(host)) {
    M.is_running = true;
    M.current = 0;
    // Whoever is first was not preempted by anybody.
    mp_point point = {.kind = MP_CHOOSE_THREAD, .count = run->threads};
    for (int i = 0; i < run->threads; i++) point.options[i] = (mp_option){i, 0, 0};
    start(run->threads > 1 ? ask(&point) : 0);
  }
  return M.outcome;
}

const char *mp_machine_failure(void) { return M.failure; }
uintptr_t mp_machine_failure_address(void) { return M.failure_address; }
int mp_machine_steps(void) { return M.steps; }
int mp_machine_stopped(void) { return M.stopped; }
int mp_machine_sleeps(int thread) { return M.threads[thread].sleeps; }
int mp_model_thread(void) { return M.current; }
void mp_model_stoppable(int may) {
  if (M.current >= 0) M.threads[M.current].may_stop = may;
}

// --- Events

void record(
    mp_operation operation, mp_order order, uintptr_t address, mp_word expected, mp_word operand, mp_word found, int age) {
  if (!M.run.records || M.events == EVENTS) return;
  M.event[M.events++] = (mp_event){M.current, operation, order, age, M.preempted, address, expected, operand, found, NULL};
  M.preempted = false;
}

void mp_model_note(const char *text, mp_word value) {
  if (!M.is_running || M.current < 0 || !M.run.records || M.events == EVENTS) return;
  M.event[M.events++] = (mp_event){.thread = M.current, .operation = MP_NOTE, .operand = value, .note = text};
}

void mp_machine_print_by_line(void) { setvbuf(stdout, NULL, _IOLBF, 0); }
int mp_machine_event_count(void) { return M.events; }
const mp_event *mp_machine_event(int index) { return &M.event[index]; }

// --- Waiting

void mp_pause(void) {
  if (!M.is_running || M.current < 0) return;
  record(MP_PAUSE, 0, 0, 0, 0, 0, 0);
  suspend(SLEEPING);
}

void mp_sleep_nanoseconds(uint64_t nanoseconds) {
  if (!M.is_running || M.current < 0) return;
  M.threads[M.current].sleeps++;
  record(MP_SLEEP, 0, 0, 0, nanoseconds, 0, 0);
  suspend(SLEEPING);
}

void mp_futex_wait(mp_word *address, mp_word expected) {
  if (!M.is_running || M.current < 0) return;
  yield_point();
  M.threads[M.current].hash = mix(M.threads[M.current].hash, *address);
  record(MP_WAIT, 0, (uintptr_t)address, expected, 0, *address, 0);
  // The kernel compares 32 bits.
  if ((uint32_t)*address != (uint32_t)expected) return;
  M.threads[M.current].waits_on = (uintptr_t)address;
  suspend(WAITING);
}

void mp_futex_wait_for(mp_word *address, mp_word expected, uint64_t nanoseconds) {
  if ((uint32_t)*address == (uint32_t)expected) mp_sleep_nanoseconds(nanoseconds);
}

void mp_futex_wake(mp_word *address, int count) {
  if (!M.is_running || M.current < 0) return;
  yield_point();
  M.threads[M.current].hash = mix(M.threads[M.current].hash, 5);
  record(MP_WAKE, 0, (uintptr_t)address, 0, (mp_word)count, 0, 0);
  for (int i = 0; i < M.run.threads && count > 0; i++) {
    thread *thread = &M.threads[i];
    if (thread->state != WAITING || thread->waits_on != (uintptr_t)address) continue;
    thread->state = RUNNABLE;
    thread->waits_on = 0;
    count--;
  }
}
