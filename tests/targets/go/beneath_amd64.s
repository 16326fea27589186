// SPDX-License-Identifier: MIT
//
// What only assembly can tell of a hook: that it leaves no byte beneath the stack pointer, and every register as it was.

#include "textflag.h"

// Hooked. Nothing in it asks for more stack.
TEXT ·bottom(SB), NOSPLIT|NOFRAME, $0-0
	ADDQ $0, AX
	MOVQ AX, AX
	MOVQ BX, BX
	MOVQ CX, CX
	RET

#define BYTES 640
#define PATTERN $0x5ca1ab1e0ddba115

// func beneath() int
// Fills what is beneath its stack pointer, calls bottom, and counts the words that have changed; but for the one that
// the call itself has written.
TEXT ·beneath(SB), NOSPLIT, $0-8
	MOVQ PATTERN, AX
	MOVQ $(BYTES/8), CX
	LEAQ -BYTES(SP), DI
fill:
	MOVQ AX, (DI)
	ADDQ $8, DI
	DECQ CX
	JNZ fill
	CALL ·bottom(SB)
	MOVQ PATTERN, AX
	MOVQ $(BYTES/8-1), CX
	LEAQ -BYTES(SP), DI
	XORQ BX, BX
look:
	CMPQ AX, (DI)
	JEQ same
	INCQ BX
same:
	ADDQ $8, DI
	DECQ CX
	JNZ look
	MOVQ BX, ret+0(FP)
	RET

// A register that must come back with its number; BX tells which have not. Flags are kept in between.
#define CHECK(n, reg) \
	CMPQ reg, $(n+1000) \
	JEQ 2(PC) \
	ORQ $(1<<n), 0(SP)

// func registers(carry uint64) (wrong uint64)
TEXT ·registers(SB), NOSPLIT, $16-16
	MOVQ $0, 0(SP)
	PXOR X0, X0
	MOVQ $0x77, AX
	MOVQ AX, X0
	MOVQ AX, X14
	MOVQ carry+0(FP), R13
	MOVQ BP, 8(SP)
	MOVQ $1001, BX
	MOVQ $1002, CX
	MOVQ $1003, DX
	MOVQ $1004, SI
	MOVQ $1005, DI
	MOVQ $1006, R8
	MOVQ $1007, R9
	MOVQ $1008, R10
	MOVQ $1009, R11
	MOVQ $1010, R12
	MOVQ $1012, BP
	MOVQ $1013, R15
	MOVQ $1000, AX
	ADDQ $-1, R13 // carry and zero as asked
	MOVQ $1011, R13
	CALL ·flagged(SB)
	CHECK(0, AX)
	CHECK(1, BX)
	CHECK(2, CX)
	CHECK(3, DX)
	CHECK(4, SI)
	CHECK(5, DI)
	CHECK(6, R8)
	CHECK(7, R9)
	CHECK(8, R10)
	CHECK(9, R11)
	CHECK(10, R12)
	CHECK(12, BP)
	CHECK(13, R15)
	MOVQ 8(SP), BP
	MOVQ X0, AX
	CMPQ AX, $0x77
	JEQ 2(PC)
	ORQ $(1<<16), 0(SP)
	MOVQ X14, AX
	CMPQ AX, $0x77
	JEQ 2(PC)
	ORQ $(1<<17), 0(SP)
	MOVQ X15, AX
	TESTQ AX, AX
	JEQ 2(PC)
	ORQ $(1<<18), 0(SP)
	SUBQ $1011, R13 // flagged has added carry × 1 + zero × 2 to it
	SHLQ $24, R13
	ORQ 0(SP), R13
	MOVQ R13, wrong+8(FP)
	RET

// Hooked in its middle, where flags are alive: says by r13 what they were.
TEXT ·flagged(SB), NOSPLIT|NOFRAME, $0-0
	LEAQ 0(AX), AX
	LEAQ 0(BX), BX
	LEAQ 0(CX), CX
	JEQ zero
	JCS both
	RET
both:
	LEAQ 1(R13), R13
	RET
zero:
	LEAQ 2(R13), R13
	JCS both
	RET
