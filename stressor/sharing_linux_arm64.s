#include "textflag.h"

#define SYS_ppoll 73
#define SYS_exit_group 94
#define SYS_rt_sigprocmask 135
#define SYS_prctl 167
#define SYS_getppid 173
#define SYS_clone3 435

// func cloneSharing(args *cloneArgs, size uintptr, b *birth) int
TEXT ·cloneSharing(SB), NOSPLIT, $0-32
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	b+16(FP), R19	// the kernel keeps it
	MOVD	$SYS_clone3, R8
	SVC
	CBZ	R0, child
	MOVD	R0, ret+24(FP)
	RET

child:
	// prctl(PR_SET_PDEATHSIG, SIGKILL)
	MOVD	$1, R0
	MOVD	$9, R1
	MOVD	$SYS_prctl, R8
	SVC

	// prctl(PR_SET_NAME, b.comm)
	MOVD	$15, R0
	ADD	$8, R19, R1
	MOVD	$SYS_prctl, R8
	SVC

	// if getppid() != b.parent: the death signal came too late
	MOVD	$SYS_getppid, R8
	SVC
	MOVD	0(R19), R1
	CMP	R1, R0
	BNE	orphaned

	// rt_sigprocmask(SIG_SETMASK, &b.unblock, NULL, 8)
	MOVD	$2, R0
	ADD	$24, R19, R1
	MOVD	$0, R2
	MOVD	$8, R3
	MOVD	$SYS_rt_sigprocmask, R8
	SVC

wait:
	// ppoll(NULL, 0, NULL, NULL, 0): there is no pause on this machine
	MOVD	$0, R0
	MOVD	$0, R1
	MOVD	$0, R2
	MOVD	$0, R3
	MOVD	$0, R4
	MOVD	$SYS_ppoll, R8
	SVC
	B	wait

orphaned:
	MOVD	$72, R0	// profile.ExitOrphaned
	MOVD	$SYS_exit_group, R8
	SVC
	BRK
