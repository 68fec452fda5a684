//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// oom.bpf.c - who was killed, in whose context, and what the kernel's scores were.
//
// Hooks, all in mm/oom_kill.c unless said otherwise. Each is optional; user
// space decides from the running kernel's BTF and kallsyms which of them can be
// had, and names the reason for those that cannot.
//
//  tier 1
//   raw_tp/mark_victim          The victim; on every kernel, with or without
//                               kprobes. Its argument is a pid on old kernels,
//                               the task on newer ones and on old ones with a
//                               backport. Not fired for processes that are
//                               killed because they share the victim's memory.
//                               Fired twice, for two threads, when a group kill
//                               meets a process again whose leader was quick
//                               to die.
//   tracepoint/oom/mark_victim  The same where the kernel has no BTF: then
//                               nothing of the victim can be read but the pid
//                               that the trace's record has, and this is the
//                               only hook there is.
//   sched_process_exit          kernel/exit.c. The end of a process that is an
//                               OOM victim, with its wait status: all threads
//                               are on their way out. Told by mark_victim if
//                               they had got this far before.
//   signal_generate             kernel/signal.c. SIGKILL and SIGTERM that processes
//                               send, if that was asked for.
//  tier 2
//   out_of_memory               Entry: a decision begins, struct oom_control.
//                               Return: it ended, and whether it made progress.
//   oom_kill_process            The chosen task, total pages, constraint. Static.
//   __oom_kill_process          One event per attempted kill, so members of a
//                               memory.oom.group are there one by one; some of
//                               them twice, as the kernel's counters have them.
//                               Static.
//   mark_oom_victim             Remembers the task for a mark_victim that only
//                               tells the pid. Static, optional.
//  tier 3
//   oom_badness                 Entry: the candidate's counters. Return: the
//                               kernel's score.
//   oom_evaluate_task           Candidates that are not scored because they are
//                               OOM victims already or oom_task_origin. Static,
//                               optional.
//
// Tier 2 and 3 have a kprobe and an fentry program for each hook; both call the
// same function.
//
// out_of_memory() runs under oom_lock, so there is one decision at a time on the
// whole machine and its state needs no key. Nothing else that scores tasks
// (reading /proc/PID/oom_score does) runs in the task that owns the decision.
//
// All events pass through one ring buffer. Its order is the order of events, but
// for the candidates of a decision: they wait in the map held until it is known
// what the scan came to. While a victim is on its way out, the OOM killer is
// invoked thousands of times a second and gives up at that victim: of such a
// scan only its beginning and its end are told, and its candidates never take
// room. Those of a scan that chose somebody are sent when it has.
//
// An event that found no room is counted in counts.lost; user space turns any
// such count into evidence that cannot be judged.

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define MAX_CPUS 1024
#define MAX_THREADS 64
#define MAX_PID_NS_LEVEL 32 // kernel/pid_namespace.c
#define MESSAGE_LEN 64
#define MAX_HELD 1024 // a scan of more candidates sends the rest at once

// Set by user space before the programs are loaded.
const volatile __u32 nr_cpus = 0;               // possible CPUs, numbered without gaps
const volatile __u64 per_cpu_offset = 0;        // address of __per_cpu_offset[]; 0: not known
const volatile bool mark_victim_has_task = 0;   // else its argument is an int pid
const volatile __u32 pid_ns = 0;                // user space's pid namespace; 0: the initial one
const volatile bool tell_status = 0;            // send a struct status with each victim
const volatile bool quiet_scans = 0;            // do not tell that a decision begins and ends
const volatile bool tell_stack = 0;             // with the kernel's stack in it

enum kind {
	KIND_OUT_OF_MEMORY = 1,
	KIND_OUT_OF_MEMORY_RETURN,
	KIND_OOM_BADNESS,
	KIND_OOM_EVALUATE_TASK,
	KIND_OOM_KILL_PROCESS,
	KIND_EACH_KILL, // __oom_kill_process
	KIND_MARK_VICTIM,
	KIND_SCHED_PROCESS_EXIT,
	KIND_STATUS,        // struct status, not struct event
	KIND_SIGNAL,        // the same
	KIND_GIVEN_UP,      // out_of_memory() returned, and its scan ended at a victim
};

enum has {
	HAS_TASK = 1 << 0,    // task is filled; without HAS_IDENTITY only pid is
	HAS_IDENTITY = 1 << 1,
	HAS_MM = 1 << 2,
	HAS_EXACT = 1 << 3,   // task.exact is a sum of its own
	HAS_CONTROL = 1 << 4,
	HAS_POINTS = 1 << 5,
	IS_ORIGIN = 1 << 6,   // oom_task_origin: swapoff or KSM unmerge
	// What oom_badness() refuses a task for, beside its oom_score_adj, its mm and
	// MMF_OOM_SKIP.
	HAS_REFUSAL = 1 << 7, // it was looked for
	IS_INIT = 1 << 8,     // is_global_init()
	IS_KTHREAD = 1 << 9,  // PF_KTHREAD
	IN_VFORK = 1 << 10,   // in_vfork()
};

struct task_info {
	__u64 start_ns;    // start_time of the thread group leader
	__u64 cgroup_id;   // kernfs id of its memory cgroup; 0: no memory controller
	__s64 batched[NR_MM_COUNTERS];
	__s64 exact[NR_MM_COUNTERS];
	__u64 pgtables;    // bytes
	__u64 total_vm;    // pages
	__u32 pid;         // of the thread that the kernel names
	__u32 tgid;
	__u32 uid;
	__s32 adj;
	__u32 oom_skip;
	__u32 mm_gone;     // no thread has it any more: find_lock_task_mm() finds nobody
	__u32 ns_tgid;     // tgid in pid_ns; 0: it has none there, or that is the initial one
	__u32 pad;
	char comm[TASK_COMM_LEN];
};

struct event {
	__u64 at_ns;       // CLOCK_MONOTONIC
	__u64 decision;    // 0: outside of out_of_memory()
	enum kind kind;
	enum has flags;
	__u32 current_pid;
	__u32 current_tgid;
	char current_comm[TASK_COMM_LEN];
	__s64 points;      // of oom_badness()
	__s64 value;       // badness: totalpages; return: result; exit: wait status
	__u64 memcg_id;    // struct oom_control from here on
	__u64 total_pages;
	__s64 chosen_points;
	__s32 order;
	__u32 gfp;
	__s32 constraint;
	__u32 current_ns_tgid;
	char message[MESSAGE_LEN];
	struct task_info task;
};

#define PATH_LEVELS 10
#define PATH_NAME 96
#define ARGS_LEN 256
#define STACK_LEN 24

// Where a text is in the text of a struct status.
struct span {
	__u16 at;
	__u16 len;
};

// What there is to know of a process beside struct task_info. The path of a cgroup is
// read from the kernel, for user space would find it gone: its names from the inside to
// the root, whose own is empty, each with a zero behind it.
struct person {
	struct task_info task;
	__u64 hiwater_rss;  // pages; the kernel keeps it up when memory is given back
	__u32 threads;
	__u32 parent_tgid;
	__u32 has;          // enum has
	struct span args;   // the command line, its words ended by zeros; empty: it could not be read
	struct span cgroup; // a path
	char parent_comm[TASK_COMM_LEN];
	__u32 pad;
};

#define TEXT_LEN (3 * PATH_LEVELS * PATH_NAME + ARGS_LEN)

// Who was killed and who asked, as they were at that moment. One for each
// KIND_MARK_VICTIM, right behind it; or for a signal. What is sent ends with the text.
struct status {
	__u64 at_ns;
	__u64 decision;
	__u32 kind;         // enum kind
	__u32 sig;
	__s32 code;         // si_code of a signal
	__u32 result;       // enum trace_signal_result
	__u32 same;         // the trigger is the victim, and not described again
	__u32 used;         // bytes of text
	struct span domain; // path of the cgroup whose limit was hit; empty: the machine, or not known
	__u32 pad;
	__u64 stack[STACK_LEN]; // of the kernel, the innermost call first
	struct person victim;
	struct person trigger;
	char text[TEXT_LEN];
};

// Keeps the type in the object's BTF, from which the Go type is made.
const struct status *status_type __attribute__((unused));

struct tally {
	__u64 tried;
	__u64 lost;
};

// The invocation of out_of_memory() that is under way.
struct decision {
	__u64 number;      // of this or the last one
	__u64 owner;       // pid_tgid of the task it runs in; 0: none is under way
	__u64 oc;
	__u64 victim;      // task that mark_oom_victim() was called for
	__u64 held;        // events in the map of that name
};

// One call of oom_badness() between its entry and its return.
struct badness {
	__u64 task;        // 0: no call is under way
	__u64 calls;       // completed ones
	struct event event;
};

enum { IN_DECISION, IN_CALIBRATION, BADNESS_SLOTS };

// The thread that compares the kernel's score with its own sum.
struct calibration {
	__u64 ns_dev;
	__u64 ns_ino;
	__u32 tid;         // in that pid namespace; 0: nobody
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} events SEC(".maps");

// Read by user space through shared memory: while a thread is inside bpf(2)
// for a map, the kernel skips the programs that would run on its CPU.
struct tally counts = {};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct decision);
} decisions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BADNESS_SLOTS);
	__type(key, __u32);
	__type(value, struct badness);
} scores SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct calibration);
} calibrations SEC(".maps");

// Where a status is put together: how long it gets is not known before. Nothing that
// interrupts a program on its CPU makes another one: signals of the kernel's are not told.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct status);
} drafts SEC(".maps");

// The candidates of the decision that is under way, as they came.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_HELD);
	__type(key, __u32);
	__type(value, struct event);
} held SEC(".maps");

// Processes whose end was told, so that their last threads tell it once.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u64);
} exited SEC(".maps");

static __always_inline struct decision *last_decision(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&decisions, &zero);
}

// The decision that current is taking, or NULL.
static __always_inline struct decision *my_decision(void)
{
	struct decision *d = last_decision();

	return d && d->owner == bpf_get_current_pid_tgid() ? d : NULL;
}

// The tgid of p in user space's pid namespace, at whatever level that is.
static __noinline __u32 ns_tgid(struct task_struct *p)
{
	struct pid *pid = BPF_CORE_READ(p, group_leader, thread_pid);
	__u32 level = pid ? BPF_CORE_READ(pid, level) : 0;
	__u32 i;

	for (i = 1; i <= MAX_PID_NS_LEVEL; i++) {
		struct upid *number;

		if (i > level)
			break;
		number = (void *)__builtin_preserve_access_index(&pid->numbers) + i * bpf_core_type_size(struct upid);
		if (BPF_CORE_READ(number, ns, ns.inum) == pid_ns)
			return BPF_CORE_READ(number, nr);
	}
	return 0;
}

static __always_inline void describe_current(struct event *e, __u32 kind)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct decision *d = my_decision();

	__builtin_memset(e, 0, sizeof(*e));
	e->at_ns = bpf_ktime_get_ns();
	e->kind = kind;
	e->current_pid = id;
	e->current_tgid = id >> 32;
	bpf_get_current_comm(e->current_comm, sizeof(e->current_comm));
	if (d)
		e->decision = d->number;
}

// As begin, with nothing of the kernel's structures, which take BTF.
static __always_inline struct event *begin_bare(__u32 kind)
{
	struct event *e;

	__sync_fetch_and_add(&counts.tried, 1);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		__sync_fetch_and_add(&counts.lost, 1);
		return NULL;
	}
	describe_current(e, kind);
	return e;
}

static __always_inline __u32 current_ns_tgid(void)
{
	return pid_ns ? ns_tgid((void *)bpf_get_current_task()) : 0;
}

// An event to fill and to submit, or NULL when the ring buffer is full.
static __always_inline struct event *begin(__u32 kind)
{
	struct event *e = begin_bare(kind);

	if (e)
		e->current_ns_tgid = current_ns_tgid();
	return e;
}

static __always_inline void send(struct event *e)
{
	__sync_fetch_and_add(&counts.tried, 1);
	if (bpf_ringbuf_output(&events, e, sizeof(*e), 0))
		__sync_fetch_and_add(&counts.lost, 1);
}

// Keeps a candidate of d until it is known what the scan came to.
static __always_inline void hold(struct decision *d, struct event *e)
{
	__u32 slot = d->held;

	if (slot >= MAX_HELD || bpf_map_update_elem(&held, &slot, e, BPF_ANY)) {
		send(e);
		return;
	}
	d->held = slot + 1;
}

// Sends what is held.
static __noinline int send_held(struct decision *d)
{
	__u32 i, n;

	if (!d)
		return 0;
	n = d->held;
	for (i = 0; i < MAX_HELD; i++) {
		__u32 slot = i;
		struct event *e;

		if (i >= n)
			break;
		e = bpf_map_lookup_elem(&held, &slot);
		if (e)
			send(e);
	}
	d->held = 0;
	return 0;
}

// The thread whose mm find_lock_task_mm() would take: the first one, in the
// order of the thread group, that still has one. The leader may be gone.
static __noinline struct task_struct *thread_with_mm(struct task_struct *p)
{
	struct signal_struct *sig = BPF_CORE_READ(p, signal);
	struct list_head *head, *node;
	struct task_struct *t;
	int i;

	if (BPF_CORE_READ(p, mm) && BPF_CORE_READ(p, group_leader) == p)
		return p;
	head = __builtin_preserve_access_index(&sig->thread_head);
	node = BPF_CORE_READ(sig, thread_head.next);
	for (i = 0; i < MAX_THREADS; i++) {
		if (!node || node == head)
			break;
		t = (void *)node - bpf_core_field_offset(struct task_struct, thread_node);
		if (BPF_CORE_READ(t, mm))
			return t;
		node = BPF_CORE_READ(node, next);
	}
	return NULL;
}

static __always_inline __u64 cgroup_id(struct cgroup_subsys_state *css)
{
	return css ? BPF_CORE_READ(css, cgroup, kn, id) : 0;
}

static __always_inline struct cgroup_subsys_state *memory_css(struct task_struct *p)
{
	struct cgroup_subsys_state *css = NULL;
	struct css_set *set;

	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return NULL;
	set = BPF_CORE_READ(p, cgroups);
	bpf_probe_read_kernel(&css, sizeof(css),
			      (void *)__builtin_preserve_access_index(&set->subsys) +
			      sizeof(css) * bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id));
	return css;
}

static __always_inline __u64 memcg_of(struct task_struct *p)
{
	return cgroup_id(memory_css(p));
}

// percpu_counter_sum(), lib/percpu_counter.c: count plus what every CPU keeps
// back. A CPU that went offline has handed its part over and left 0.
static __always_inline void add_cpus(__s64 *exact, __s32 *c0, __s32 *c1, __s32 *c2, __s32 *c3)
{
	__u32 cpu;

	for (cpu = 0; cpu < MAX_CPUS; cpu++) {
		__u64 offset = 0;
		__s32 v;

		if (cpu >= nr_cpus)
			break;
		bpf_probe_read_kernel(&offset, sizeof(offset), (void *)(per_cpu_offset + cpu * sizeof(offset)));
		v = 0;
		bpf_probe_read_kernel(&v, sizeof(v), (void *)c0 + offset);
		exact[0] += v;
		v = 0;
		bpf_probe_read_kernel(&v, sizeof(v), (void *)c1 + offset);
		exact[1] += v;
		v = 0;
		bpf_probe_read_kernel(&v, sizeof(v), (void *)c2 + offset);
		exact[2] += v;
		v = 0;
		bpf_probe_read_kernel(&v, sizeof(v), (void *)c3 + offset);
		exact[3] += v;
	}
}

static __always_inline __u64 mm_flags(struct mm_struct *mm)
{
	struct mm_struct___bitmap *bitmap = (void *)mm;

	if (bpf_core_field_exists(bitmap->flags.__mm_flags))
		return BPF_CORE_READ(bitmap, flags.__mm_flags[0]);
	return BPF_CORE_READ(mm, flags);
}

// Fills the counters of mm. Returns the flags to set in the event.
static __noinline __u32 describe_mm(struct task_info *out, struct mm_struct *mm)
{
	struct mm_struct___atomic *old = (void *)mm;

	out->pgtables = BPF_CORE_READ(mm, pgtables_bytes.counter);
	out->total_vm = BPF_CORE_READ(mm, total_vm);
	out->oom_skip = mm_flags(mm) >> MMF_OOM_SKIP & 1;

	if (bpf_core_field_exists(old->rss_stat.count)) {
		out->batched[0] = out->exact[0] = BPF_CORE_READ(old, rss_stat.count[0].counter);
		out->batched[1] = out->exact[1] = BPF_CORE_READ(old, rss_stat.count[1].counter);
		out->batched[2] = out->exact[2] = BPF_CORE_READ(old, rss_stat.count[2].counter);
		out->batched[3] = out->exact[3] = BPF_CORE_READ(old, rss_stat.count[3].counter);
		return HAS_MM | HAS_EXACT;
	}

	out->batched[0] = out->exact[0] = BPF_CORE_READ(mm, rss_stat[0].count);
	out->batched[1] = out->exact[1] = BPF_CORE_READ(mm, rss_stat[1].count);
	out->batched[2] = out->exact[2] = BPF_CORE_READ(mm, rss_stat[2].count);
	out->batched[3] = out->exact[3] = BPF_CORE_READ(mm, rss_stat[3].count);
	if (!per_cpu_offset || !nr_cpus || nr_cpus > MAX_CPUS)
		return HAS_MM;
	add_cpus(out->exact,
		 BPF_CORE_READ(mm, rss_stat[0].counters), BPF_CORE_READ(mm, rss_stat[1].counters),
		 BPF_CORE_READ(mm, rss_stat[2].counters), BPF_CORE_READ(mm, rss_stat[3].counters));
	return HAS_MM | HAS_EXACT;
}

// oom_unkillable_task(p), then in_vfork(t) for the thread t that has the mm.
static __always_inline __u32 refusal(struct task_struct *p, struct task_struct *t)
{
	if (BPF_CORE_READ(p, tgid) == 1)
		return HAS_REFUSAL | IS_INIT;
	if (BPF_CORE_READ(p, flags) & PF_KTHREAD)
		return HAS_REFUSAL | IS_KTHREAD;
	if (BPF_CORE_READ(t, vfork_done) && BPF_CORE_READ(t, real_parent, mm) == BPF_CORE_READ(t, mm))
		return HAS_REFUSAL | IN_VFORK;
	return HAS_REFUSAL;
}

// Fills out with p as the kernel names and measures it: pid and comm are those
// of the thread that still has an mm. A victim whose threads have all let go of
// the mm is measured through signal->oom_mm.
static __noinline __u32 describe_task(struct task_info *out, struct task_struct *p)
{
	struct signal_struct *sig = BPF_CORE_READ(p, signal);
	struct task_struct *t = thread_with_mm(p);
	struct mm_struct *mm;

	mm = t ? BPF_CORE_READ(t, mm) : BPF_CORE_READ(sig, oom_mm);
	out->mm_gone = !t;
	if (!t)
		t = p;
	out->pid = BPF_CORE_READ(t, pid);
	out->tgid = BPF_CORE_READ(t, tgid);
	if (pid_ns)
		out->ns_tgid = ns_tgid(t);
	bpf_probe_read_kernel(out->comm, sizeof(out->comm), __builtin_preserve_access_index(&t->comm));
	out->uid = BPF_CORE_READ(t, real_cred, uid.val);
	out->start_ns = BPF_CORE_READ(p, group_leader, start_time);
	out->adj = BPF_CORE_READ(sig, oom_score_adj);
	out->cgroup_id = memcg_of(p);
	return HAS_TASK | HAS_IDENTITY | refusal(p, t) | (mm ? describe_mm(out, mm) : 0);
}

static __always_inline void describe_control(struct event *e, struct oom_control *oc)
{
	struct mem_cgroup *memcg;

	if (!oc)
		return;
	memcg = BPF_CORE_READ(oc, memcg);
	e->memcg_id = memcg ? cgroup_id(__builtin_preserve_access_index(&memcg->css)) : 0;
	e->total_pages = BPF_CORE_READ(oc, totalpages);
	e->chosen_points = BPF_CORE_READ(oc, chosen_points);
	e->order = BPF_CORE_READ(oc, order);
	e->gfp = BPF_CORE_READ(oc, gfp_mask);
	e->constraint = BPF_CORE_READ(oc, constraint);
	e->flags |= HAS_CONTROL;
}

// ---- status ----

static __always_inline struct kernfs_node *parent_of(struct kernfs_node *kn)
{
	struct kernfs_node___rcu *rcu = (void *)kn;

	if (bpf_core_field_exists(rcu->__parent))
		return BPF_CORE_READ(rcu, __parent);
	return BPF_CORE_READ(kn, parent);
}

// Adds the path of a cgroup to the text.
static __noinline int describe_path(struct status *s, struct span *out, struct cgroup_subsys_state *css)
{
	struct kernfs_node *kn = NULL, *up;
	__u64 used;
	long len;
	int i;

	if (!s || !out)
		return 0;
	used = s->used;
	out->at = used;
	out->len = 0;
	if (css)
		kn = BPF_CORE_READ(css, cgroup, kn);
	for (i = 0; i < PATH_LEVELS; i++) {
		if (!kn || used > TEXT_LEN - PATH_NAME)
			break;
		up = parent_of(kn);
		len = bpf_probe_read_kernel_str(s->text + used, PATH_NAME, up ? BPF_CORE_READ(kn, name) : "");
		if (len < 1 || len > PATH_NAME)
			break;
		used += len;
		kn = up;
	}
	out->len = used - out->at;
	s->used = used;
	return 0;
}

// Adds the command line of current to the text, whose own memory is all that can be read
// from here.
static __noinline int describe_args(struct status *s, struct span *out, struct mm_struct *mm)
{
	__u64 used, start, len;

	if (!s || !out)
		return 0;
	used = s->used;
	start = BPF_CORE_READ(mm, arg_start);
	len = BPF_CORE_READ(mm, arg_end) - start;
	if (len > ARGS_LEN)
		len = ARGS_LEN;
	if (used > TEXT_LEN - ARGS_LEN || bpf_probe_read_user(s->text + used, len, (void *)start))
		return 0;
	out->at = used;
	out->len = len;
	s->used = used + len;
	return 0;
}

// Fills out with p.
static __noinline int describe_person(struct status *s, struct person *out, struct task_struct *p)
{
	struct task_struct *self = (void *)bpf_get_current_task();
	struct signal_struct *sig;
	struct task_struct *parent;
	struct mm_struct *mm;

	if (!s || !out)
		return 0;
	__builtin_memset(out, 0, sizeof(*out));
	if (!p)
		return 0;
	out->has = describe_task(&out->task, p);
	sig = BPF_CORE_READ(p, signal);
	out->threads = BPF_CORE_READ(sig, nr_threads);
	parent = BPF_CORE_READ(p, group_leader, real_parent);
	out->parent_tgid = BPF_CORE_READ(parent, tgid);
	bpf_probe_read_kernel(out->parent_comm, sizeof(out->parent_comm),
			      __builtin_preserve_access_index(&parent->comm));
	describe_path(s, &out->cgroup, memory_css(p));
	mm = BPF_CORE_READ(p, mm);
	out->hiwater_rss = mm ? BPF_CORE_READ(mm, hiwater_rss) : 0;
	if (mm && mm == BPF_CORE_READ(self, mm))
		describe_args(s, &out->args, mm);
	return 0;
}

// Sends who was killed and who asked for it.
static __always_inline int send_status(void *ctx, struct task_struct *victim, __u32 kind, __u32 sig, __s32 code,
				       __u32 result)
{
	struct mem_cgroup *memcg = NULL;
	struct oom_control *oc = NULL;
	struct task_struct *self;
	struct status *s;
	struct decision *d;
	__u32 zero = 0;
	__u64 size;

	s = bpf_map_lookup_elem(&drafts, &zero);
	if (!s)
		return 0;
	__sync_fetch_and_add(&counts.tried, 1);
	d = my_decision();
	s->at_ns = bpf_ktime_get_ns();
	s->kind = kind;
	s->sig = sig;
	s->code = code;
	s->result = result;
	s->decision = d ? d->number : 0;
	s->used = 0;
	__builtin_memset(s->stack, 0, sizeof(s->stack));
	if (tell_stack)
		bpf_get_stack(ctx, s->stack, sizeof(s->stack), 0);
	describe_person(s, &s->victim, victim);
	self = (void *)bpf_get_current_task();
	s->same = self == victim;
	describe_person(s, &s->trigger, s->same ? NULL : self);
	if (d)
		oc = (void *)d->oc;
	if (oc)
		memcg = BPF_CORE_READ(oc, memcg);
	describe_path(s, &s->domain, memcg ? __builtin_preserve_access_index(&memcg->css) : NULL);
	size = offsetof(struct status, text) + (__u64)s->used;
	if (size > sizeof(*s))
		size = sizeof(*s);
	if (bpf_ringbuf_output(&events, s, size, 0))
		__sync_fetch_and_add(&counts.lost, 1);
	return 0;
}

// ---- tier 1 ----

struct bpf_raw_tracepoint_args {
	__u64 args[5];
};

// Tells the end of the process that p belongs to, if it is an OOM victim and
// all its threads have counted themselves out in do_exit(). Once: the last
// threads all come by.
static __noinline int tell_end(struct task_struct *p)
{
	struct signal_struct *sig = BPF_CORE_READ(p, signal);
	struct task_struct *leader;
	struct event *e;
	__u64 key, start;

	// Not the tracepoint's group_dead, which kernels since 6.16 have: only one
	// thread gets it, and it may pass before the victim is marked.
	if (!BPF_CORE_READ(sig, oom_mm) || BPF_CORE_READ(sig, live.counter) > 0)
		return 0;
	leader = BPF_CORE_READ(p, group_leader);
	start = BPF_CORE_READ(leader, start_time);
	key = start << 22 ^ (__u64)BPF_CORE_READ(p, tgid);
	if (bpf_map_update_elem(&exited, &key, &start, BPF_NOEXIST))
		return 0;
	e = begin(KIND_SCHED_PROCESS_EXIT);
	if (!e)
		return 0;
	e->flags |= describe_task(&e->task, leader);
	// As wait_task_zombie(), kernel/exit.c.
	if (BPF_CORE_READ(sig, flags) & SIGNAL_GROUP_EXIT)
		e->value = BPF_CORE_READ(sig, group_exit_code);
	else
		e->value = BPF_CORE_READ(leader, exit_code);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("raw_tp/mark_victim")
int mark_victim(struct bpf_raw_tracepoint_args *ctx)
{
	struct event *e = begin(KIND_MARK_VICTIM);
	struct task_struct *victim = NULL;
	struct decision *d;

	if (!e)
		return 0;
	if (mark_victim_has_task) {
		victim = (void *)ctx->args[0];
	} else {
		__u32 pid = ctx->args[0];

		// The argument is a thread's pid. Whose it is can be known if
		// mark_oom_victim() was seen, or if it is current.
		d = last_decision();
		if (d)
			victim = (void *)d->victim;
		if (victim && BPF_CORE_READ(victim, pid) != pid)
			victim = NULL;
		if (!victim && pid == e->current_pid)
			victim = (void *)bpf_get_current_task();
		if (!victim) {
			e->task.pid = pid;
			e->flags |= HAS_TASK;
		}
	}
	if (victim) {
		e->flags |= describe_task(&e->task, victim);
		// The argument is a thread with an mm. It may have let go of it since.
		e->task.pid = BPF_CORE_READ(victim, pid);
		bpf_probe_read_kernel(e->task.comm, sizeof(e->task.comm), __builtin_preserve_access_index(&victim->comm));
	}
	d = my_decision();
	if (d)
		describe_control(e, (void *)d->oc);
	bpf_ringbuf_submit(e, 0);
	// Since 6.16 do_exit() passes sched_process_exit before exit_mm(), where a
	// victim is held until it is marked: all its threads may have passed
	// unmarked. Either they see the mark, or they are seen here, because both
	// sides write first and read then, with a full barrier between.
	if (victim)
		tell_end(victim);
	if (victim && tell_status)
		send_status(ctx, victim, KIND_STATUS, SIGKILL, 0, 0);
	return 0;
}

// The kernel's own signals are no concern here: those of the OOM killer are known
// from mark_victim.
SEC("raw_tp/signal_generate")
int signal_generate(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 sig = ctx->args[0];
	struct kernel_siginfo *info = (void *)ctx->args[1];
	struct task_struct *p = (void *)ctx->args[2];
	__s32 code = 0; // SEND_SIG_NOINFO: a process is the sender

	if (sig != SIGKILL && sig != SIGTERM)
		return 0;
	if (BPF_CORE_READ(p, tgid) == bpf_get_current_pid_tgid() >> 32)
		return 0; // nobody else
	if ((__u64)info == SEND_SIG_PRIV)
		return 0;
	if (info)
		code = BPF_CORE_READ(info, si_code);
	if (code > 0)
		return 0;
	send_status(ctx, p, KIND_SIGNAL, sig, code, ctx->args[4]);
	return 0;
}

// The record of the tracepoint as its format file describes it, which user space
// has compared.
struct mark_victim_record {
	__u64 common;
	__s32 pid;
};

SEC("tracepoint/oom/mark_victim")
int trace_mark_victim(struct mark_victim_record *ctx)
{
	struct event *e = begin_bare(KIND_MARK_VICTIM);

	if (!e)
		return 1;
	e->task.pid = ctx->pid;
	e->flags |= HAS_TASK;
	bpf_ringbuf_submit(e, 0);
	return 1; // 0 would keep the event from others who trace it
}

// As a perf tracepoint it runs with preemption off in every kernel. Raw
// tracepoints do not since 7.0, and there the kernel skips the program for a
// task that ends while another one is preempted inside it on the same CPU.
SEC("tracepoint/sched/sched_process_exit")
int sched_process_exit(void *ctx)
{
	tell_end((void *)bpf_get_current_task());
	return 1; // as above
}

// For machines without tracefs. User space learns how often it was skipped.
SEC("raw_tp/sched_process_exit")
int raw_sched_process_exit(struct bpf_raw_tracepoint_args *ctx)
{
	tell_end((void *)ctx->args[0]);
	return 0;
}

// ---- tier 2 ----

static __noinline int on_out_of_memory(struct oom_control *oc)
{
	struct decision *d = last_decision();
	struct event *e;

	if (!d)
		return 0;
	d->number++;
	d->owner = bpf_get_current_pid_tgid();
	d->oc = (__u64)oc;
	d->victim = 0;
	d->held = 0;
	if (quiet_scans)
		return 0;
	e = begin(KIND_OUT_OF_MEMORY);
	if (!e)
		return 0;
	describe_control(e, oc);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

static __noinline int on_out_of_memory_return(bool result)
{
	struct decision *d = my_decision();
	struct oom_control *oc;
	struct event *e;
	bool given_up;

	if (!d)
		return 0;
	oc = (void *)d->oc;
	// oom_evaluate_task(), "abort". A scan that found nobody has chosen NULL.
	given_up = (long)BPF_CORE_READ(oc, chosen) == -1;
	if (!given_up)
		send_held(d);
	if (!quiet_scans) {
		e = begin(given_up ? KIND_GIVEN_UP : KIND_OUT_OF_MEMORY_RETURN);
		if (e) {
			describe_control(e, oc);
			e->value = result;
			bpf_ringbuf_submit(e, 0);
		}
	}
	d->owner = 0;
	d->oc = 0;
	d->victim = 0;
	return 0;
}

static __noinline int on_oom_kill_process(struct oom_control *oc, const char *message)
{
	struct event *e;

	send_held(my_decision());
	e = begin(KIND_OOM_KILL_PROCESS);
	if (!e)
		return 0;
	describe_control(e, oc);
	e->flags |= describe_task(&e->task, BPF_CORE_READ(oc, chosen));
	bpf_probe_read_kernel_str(e->message, sizeof(e->message), message);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

static __noinline int on_each_kill(struct task_struct *victim, const char *message)
{
	struct event *e = begin(KIND_EACH_KILL);
	struct decision *d;

	if (!e)
		return 0; // before anything else: old verifiers lose track of it
	d = my_decision();
	if (d)
		describe_control(e, (void *)d->oc);
	e->flags |= describe_task(&e->task, victim);
	bpf_probe_read_kernel_str(e->message, sizeof(e->message), message);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

static __noinline int on_mark_oom_victim(struct task_struct *victim)
{
	struct decision *d = last_decision();

	if (d)
		d->victim = (__u64)victim;
	return 0;
}

// ---- tier 3 ----

// The slot of the call of oom_badness() that current is making, or NULL if
// nobody asked for it.
static __always_inline struct badness *my_score(void)
{
	struct bpf_pidns_info ns = {};
	struct calibration *c;
	__u32 slot = 0;

	if (my_decision()) {
		slot = IN_DECISION;
		return bpf_map_lookup_elem(&scores, &slot);
	}
	c = bpf_map_lookup_elem(&calibrations, &slot);
	if (!c || !c->tid)
		return NULL;
	if (bpf_get_ns_current_pid_tgid(c->ns_dev, c->ns_ino, &ns, sizeof(ns)) || ns.pid != c->tid)
		return NULL;
	slot = IN_CALIBRATION;
	return bpf_map_lookup_elem(&scores, &slot);
}

static __noinline int on_oom_badness(struct task_struct *p, __u64 totalpages)
{
	struct badness *b = my_score();

	// gcc splits oom_badness(); its .part.0 is probed too and runs inside.
	if (!b || b->task == (__u64)p)
		return 0;
	describe_current(&b->event, KIND_OOM_BADNESS);
	b->event.current_ns_tgid = current_ns_tgid();
	b->event.value = totalpages;
	b->event.flags |= describe_task(&b->event.task, p);
	b->task = (__u64)p;
	return 0;
}

static __noinline int on_oom_badness_return(__s64 points)
{
	struct badness *b = my_score();
	struct decision *d;

	if (!b || !b->task)
		return 0;
	b->task = 0;
	b->calls++;
	b->event.points = points;
	b->event.flags |= HAS_POINTS;
	d = my_decision();
	if (!d)
		return 0; // calibrating: user space reads the slot
	describe_control(&b->event, (void *)d->oc);
	hold(d, &b->event);
	return 0;
}

static __noinline int on_oom_evaluate_task(struct task_struct *p)
{
	struct signal_struct *sig = BPF_CORE_READ(p, signal);
	struct decision *d = my_decision();
	struct oom_control *oc;
	struct badness *b;
	__u32 slot = IN_DECISION;
	bool origin, victim;

	if (!d)
		return 0;
	b = bpf_map_lookup_elem(&scores, &slot);
	if (!b)
		return 0;
	b->task = 0; // whatever call was under way is over
	oc = (void *)d->oc;
	origin = BPF_CORE_READ_BITFIELD_PROBED(sig, oom_flag_origin);
	// A manual OOM (sysrq-f, order -1) does not wait for earlier victims.
	victim = BPF_CORE_READ(sig, oom_mm) && BPF_CORE_READ(oc, order) != -1;
	if (!origin && !victim)
		return 0;
	describe_current(&b->event, KIND_OOM_EVALUATE_TASK);
	b->event.current_ns_tgid = current_ns_tgid();
	describe_control(&b->event, oc);
	b->event.flags |= describe_task(&b->event.task, p) | (victim ? 0 : IS_ORIGIN);
	hold(d, &b->event);
	return 0;
}

// ---- the ways to attach ----

#define KPROBE(name, fn, call) \
	SEC("kprobe/" #fn) int name(struct pt_regs *ctx) { return call; }
#define KRETPROBE(name, fn, call) \
	SEC("kretprobe/" #fn) int name(struct pt_regs *ctx) { return call; }

KPROBE(kprobe_out_of_memory, out_of_memory, on_out_of_memory((void *)ARG1(ctx)))
KRETPROBE(kretprobe_out_of_memory, out_of_memory, on_out_of_memory_return(RET(ctx) & 0xff))
KPROBE(kprobe_oom_kill_process, oom_kill_process, on_oom_kill_process((void *)ARG1(ctx), (void *)ARG2(ctx)))
KPROBE(kprobe_each_kill, __oom_kill_process, on_each_kill((void *)ARG1(ctx), (void *)ARG2(ctx)))
KPROBE(kprobe_mark_oom_victim, mark_oom_victim, on_mark_oom_victim((void *)ARG1(ctx)))
KPROBE(kprobe_oom_badness, oom_badness, on_oom_badness((void *)ARG1(ctx), ARG2(ctx)))
KRETPROBE(kretprobe_oom_badness, oom_badness, on_oom_badness_return(RET(ctx)))
KPROBE(kprobe_oom_evaluate_task, oom_evaluate_task, on_oom_evaluate_task((void *)ARG1(ctx)))

// The context of fentry and fexit is the arguments, then the return value.
#define FENTRY(name, fn, call) \
	SEC("fentry/" #fn) int name(__u64 *ctx) { return call; }
#define FEXIT(name, fn, call) \
	SEC("fexit/" #fn) int name(__u64 *ctx) { return call; }

FENTRY(fentry_out_of_memory, out_of_memory, on_out_of_memory((void *)ctx[0]))
FEXIT(fexit_out_of_memory, out_of_memory, on_out_of_memory_return(ctx[1] & 0xff))
FENTRY(fentry_oom_kill_process, oom_kill_process, on_oom_kill_process((void *)ctx[0], (void *)ctx[1]))
FENTRY(fentry_each_kill, __oom_kill_process, on_each_kill((void *)ctx[0], (void *)ctx[1]))
FENTRY(fentry_mark_oom_victim, mark_oom_victim, on_mark_oom_victim((void *)ctx[0]))
FENTRY(fentry_oom_badness, oom_badness, on_oom_badness((void *)ctx[0], ctx[1]))
FEXIT(fexit_oom_badness, oom_badness, on_oom_badness_return(ctx[2]))
FENTRY(fentry_oom_evaluate_task, oom_evaluate_task, on_oom_evaluate_task((void *)ctx[0]))
