/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * kernel.h - the few members of kernel structures that oom.bpf.c reads.
 *
 * Every access is relocated against the BTF of the running kernel (CO-RE), so
 * a structure names only what is read and in any order. A layout that differs
 * between kernels has a flavour: NAME___suffix is looked up as NAME.
 */
#ifndef OOMLAB_KERNEL_H
#define OOMLAB_KERNEL_H

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;

#define NULL ((void *)0)

/* include/uapi/linux/bpf.h */
enum {
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
};

struct bpf_pidns_info {
	__u32 pid;
	__u32 tgid;
};

/* What the kernel passes to a kprobe: arch/ARCH/include/uapi/asm/ptrace.h. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx;
	unsigned long r11, r10, r9, r8, ax, cx, dx, si, di;
};
#define ARG1(ctx) ((ctx)->di)
#define ARG2(ctx) ((ctx)->si)
#define RET(ctx) ((ctx)->ax)
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	unsigned long regs[31];
};
#define ARG1(ctx) ((ctx)->regs[0])
#define ARG2(ctx) ((ctx)->regs[1])
#define RET(ctx) ((ctx)->regs[0])
#else
#error "tell ARG1, ARG2 and RET for this architecture"
#endif

/* include/linux/oom.h, uapi/linux/prctl.h, sched/signal.h, mm_types.h: macros, not in BTF. */
#define SIGNAL_GROUP_EXIT 0x00000004
#define MMF_OOM_SKIP 21
#define PF_KTHREAD 0x00200000
#define TASK_COMM_LEN 16
#define SIGKILL 9
#define SIGTERM 15
#define SEND_SIG_PRIV 1 /* in place of a pointer: the kernel is the sender */

/* Indexes of mm->rss_stat, include/linux/mm_types_task.h. */
enum {
	MM_FILEPAGES,
	MM_ANONPAGES,
	MM_SWAPENTS,
	MM_SHMEMPAGES,
	NR_MM_COUNTERS,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	long counter;
} atomic_long_t;

typedef struct {
	int counter;
} atomic_t;

struct list_head {
	struct list_head *next;
};

/* Since 6.2. */
struct percpu_counter {
	__s64 count;
	__s32 *counters;
};

struct mm_struct {
	struct percpu_counter rss_stat[NR_MM_COUNTERS];
	atomic_long_t pgtables_bytes;
	unsigned long total_vm;
	unsigned long hiwater_rss;
	unsigned long arg_start;
	unsigned long arg_end;
	unsigned long flags;
};

/* Up to 6.1. */
struct mm_rss_stat___atomic {
	atomic_long_t count[NR_MM_COUNTERS];
};

struct mm_struct___atomic {
	struct mm_rss_stat___atomic rss_stat;
};

/* Since 6.18 the flags are a bitmap in a structure of its own. */
typedef struct {
	unsigned long __mm_flags[1];
} mm_flags_t___bitmap;

struct mm_struct___bitmap {
	mm_flags_t___bitmap flags;
};

typedef struct {
	unsigned int val;
} kuid_t;

struct cred {
	kuid_t uid;
};

struct kernfs_node {
	__u64 id;
	const char *name;
	struct kernfs_node *parent;
};

/* Since 6.15 the parent is protected by RCU and has another name. */
struct kernfs_node___rcu {
	struct kernfs_node *__parent;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

enum cgroup_subsys_id {
	memory_cgrp_id = 4, /* the value is relocated */
};

struct css_set {
	struct cgroup_subsys_state *subsys[1];
};

struct mem_cgroup {
	struct cgroup_subsys_state css;
};

struct signal_struct {
	atomic_t live;
	int nr_threads;
	struct list_head thread_head;
	int group_exit_code;
	unsigned int flags;
	bool oom_flag_origin : 1;
	short oom_score_adj;
	struct mm_struct *oom_mm;
};

/* include/linux/pid.h, pid_namespace.h: a pid has a number at every level. */
struct ns_common {
	unsigned int inum;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct task_struct {
	int pid;
	int tgid;
	int exit_code;
	__u64 start_time;
	char comm[TASK_COMM_LEN];
	struct task_struct *group_leader;
	struct pid *thread_pid;
	struct list_head thread_node;
	struct signal_struct *signal;
	struct mm_struct *mm;
	struct task_struct *real_parent;
	struct completion *vfork_done;
	unsigned int flags;
	const struct cred *real_cred;
	struct css_set *cgroups;
};

enum oom_constraint {
	CONSTRAINT_NONE,
};

/* A signal that is on its way: include/linux/signal_types.h. */
struct kernel_siginfo {
	int si_code;
};

struct oom_control {
	struct mem_cgroup *memcg;
	unsigned int gfp_mask;
	int order;
	unsigned long totalpages;
	struct task_struct *chosen;
	long chosen_points;
	enum oom_constraint constraint;
};

#pragma clang attribute pop

#endif
