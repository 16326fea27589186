/* SPDX-License-Identifier: MIT */
/*
 * The types of Debian's nginx, which is stripped: its own headers, compiled with the flags it was built with
 * (`types` beside this file does it), yield them with the layout of the real binary. A function has its
 * prototype where it is used here.
 */
#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

const void *tenon_used[] = {
    (const void *)ngx_http_core_post_access_phase,
    (const void *)ngx_http_finalize_request,
};
