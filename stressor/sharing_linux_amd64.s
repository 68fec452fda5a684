#include "textflag.h"

#define SYS_rt_sigprocmask 14
#define SYS_pause 34
#define SYS_getppid 110
#define SYS_prctl 157
#define SYS_exit_group 231
#define SYS_clone3 435

// func cloneSharing(args *cloneArgs, size uintptr, b *birth) int
TEXT ·cloneSharing(SB), NOSPLIT, $0-32
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	b+16(FP), R12	// the kernel keeps it
	MOVL	$SYS_clone3, AX
	SYSCALL
	TESTQ	AX, AX
	JZ	child
	MOVQ	AX, ret+24(FP)
	RET

child:
	// prctl(PR_SET_PDEATHSIG, SIGKILL)
	MOVL	$1, DI
	MOVL	$9, SI
	MOVL	$SYS_prctl, AX
	SYSCALL

	// prctl(PR_SET_NAME, b.comm)
	MOVL	$15, DI
	LEAQ	8(R12), SI
	MOVL	$SYS_prctl, AX
	SYSCALL

	// if getppid() != b.parent: the death signal came too late
	MOVL	$SYS_getppid, AX
	SYSCALL
	CMPQ	AX, 0(R12)
	JNE	orphaned

	// rt_sigprocmask(SIG_SETMASK, &b.unblock, NULL, 8)
	MOVL	$2, DI
	LEAQ	24(R12), SI
	XORL	DX, DX
	MOVL	$8, R10
	MOVL	$SYS_rt_sigprocmask, AX
	SYSCALL

wait:
	MOVL	$SYS_pause, AX
	SYSCALL
	JMP	wait

orphaned:
	MOVL	$72, DI	// profile.ExitOrphaned
	MOVL	$SYS_exit_group, AX
	SYSCALL
	INT	$3
