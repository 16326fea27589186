/* SPDX-License-Identifier: MIT */
/* The agent image as bytes of the programs that install it. */
    .section .rodata.tn_agent_image, "a", @progbits
    .balign 64
    .globl tn_agent_image
    .hidden tn_agent_image
    .type tn_agent_image, @object
tn_agent_image:
    .incbin TN_AGENT_IMAGE
0:
    .size tn_agent_image, 0b - tn_agent_image
    .balign 8
    .globl tn_agent_image_size
    .hidden tn_agent_image_size
    .type tn_agent_image_size, @object
tn_agent_image_size:
    .quad 0b - tn_agent_image
    .size tn_agent_image_size, 8
    .section .note.GNU-stack, "", @progbits
