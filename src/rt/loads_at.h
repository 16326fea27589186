/* SPDX-License-Identifier: MIT */
/* Offsets that loads.S knows; loads.c asserts them. Numbers only: an assembler reads this. */
#ifndef TN_RT_LOADS_AT_H
#define TN_RT_LOADS_AT_H

#define AT_RUN_PROC      8
#define AT_PROC_TP_HOW   136
#define AT_PROC_SIGNALS  176
#define AT_SIGNALS_LOADS 8
#define AT_SIGNALS_ROOM  193456
#define AT_ROOMS_MASK    1023
#define AT_TP_SELF       2
#define AT_FROM          0x10000
#define AT_SPAN          0x7ffffffef000 /* of what may be loaded, from AT_FROM on */

#endif
