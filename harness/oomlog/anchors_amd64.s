#include "textflag.h"

// func anchors(data *byte, last int, tables *[6][16]byte) int
//
// A byte's low and high half each look up which anchors have such a half at a
// place: one bit for each anchor, for 32 bytes at once. The anchors whose bit is
// left when all six answers are joined are there.
TEXT ·anchors(SB), NOSPLIT, $0-32
	MOVQ data+0(FP), SI
	MOVQ last+8(FP), CX
	MOVQ tables+16(FP), DX
	VBROADCASTI128 (DX), Y8
	VBROADCASTI128 16(DX), Y9
	VBROADCASTI128 32(DX), Y10
	VBROADCASTI128 48(DX), Y11
	VBROADCASTI128 64(DX), Y12
	VBROADCASTI128 80(DX), Y13
	MOVQ $0x0f0f0f0f0f0f0f0f, AX
	MOVQ AX, X14
	VPBROADCASTQ X14, Y14
	XORQ AX, AX

loop:
	CMPQ AX, CX
	JGT  done
	VMOVDQU (SI)(AX*1), Y0
	VMOVDQU 1(SI)(AX*1), Y1
	VMOVDQU 2(SI)(AX*1), Y2
	VPSRLW  $4, Y0, Y3
	VPSRLW  $4, Y1, Y4
	VPSRLW  $4, Y2, Y5
	VPAND   Y14, Y0, Y0
	VPAND   Y14, Y1, Y1
	VPAND   Y14, Y2, Y2
	VPAND   Y14, Y3, Y3
	VPAND   Y14, Y4, Y4
	VPAND   Y14, Y5, Y5
	VPSHUFB Y0, Y8, Y0
	VPSHUFB Y3, Y9, Y3
	VPSHUFB Y1, Y10, Y1
	VPSHUFB Y4, Y11, Y4
	VPSHUFB Y2, Y12, Y2
	VPSHUFB Y5, Y13, Y5
	VPAND   Y0, Y3, Y0
	VPAND   Y1, Y4, Y1
	VPAND   Y2, Y5, Y2
	VPAND   Y0, Y1, Y0
	VPAND   Y0, Y2, Y0
	VPTEST  Y0, Y0
	JNZ     found
	ADDQ    $32, AX
	JMP     loop

found:
	VPXOR     Y1, Y1, Y1
	VPCMPEQB  Y0, Y1, Y0
	VPMOVMSKB Y0, BX
	NOTL      BX
	BSFL      BX, BX
	ADDQ      BX, AX

done:
	VZEROUPPER
	MOVQ AX, ret+24(FP)
	RET
