/* SPDX-License-Identifier: MIT */
/*
 * The types of Debian's nginx, which is stripped: its own headers, compiled with the flags it was built with
 * (`types` beside this file does it), yield them with the layout of the real binary, and the prototypes of
 * its functions.
 */
#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
