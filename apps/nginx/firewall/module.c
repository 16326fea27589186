/* SPDX-License-Identifier: MIT */
/*
 * The same filter as a native module of nginx, to compare with: by itself, or (WASM) with the matching
 * compiled to WebAssembly and from there ahead of time to C, in a memory of its own. `firewall_rules FILE;`
 * names the rules, compiled by `rules`.
 */
#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "filter.h"
#ifdef WASM
#include "filter.wasm.h"
static Z_filter_instance_t instance;
static int wasm_ready;
#endif

static struct rules rules;

#ifdef WASM
static uint32_t look(ngx_http_request_t *r)
{
    ngx_str_t *field[] = {&r->uri, &r->args,
                          r->headers_in.user_agent ? &r->headers_in.user_agent->value : NULL};

    for (uint32_t k = 0; k < 3; k++) {
        uint32_t at, n, found;

        if (!rules.used[k] || !field[k] || !field[k]->len)
            continue;
        at = Z_filterZ_room(&instance);
        n = field[k]->len > WINDOW ? WINDOW : (uint32_t)field[k]->len;
        memcpy(Z_filterZ_memory(&instance)->data + at, field[k]->data, n);
        found = Z_filterZ_look(&instance, k, n);
        if (found)
            return found;
    }
    return 0;
}
#else
static uint32_t look(ngx_http_request_t *r)
{
    ngx_str_t *field[] = {&r->uri, &r->args,
                          r->headers_in.user_agent ? &r->headers_in.user_agent->value : NULL};
    uint8_t text[WINDOW + 16];

    for (uint32_t k = 0; k < 3; k++) {
        uint32_t n, found;

        if (!rules.used[k] || !field[k] || !field[k]->len)
            continue;
        n = field[k]->len > WINDOW ? WINDOW : (uint32_t)field[k]->len;
        if (k == ARGS)
            n = decode(text, field[k]->data, n);
        else
            memcpy(text, field[k]->data, n);
        found = scan(&rules, text, n, k);
        if (found)
            return found;
    }
    return 0;
}
#endif

static ngx_int_t handler(ngx_http_request_t *r)
{
    return look(r) ? NGX_HTTP_FORBIDDEN : NGX_DECLINED;
}

static char *set_rules(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t *value = cf->args->elts;
    FILE *file = fopen((char *)value[1].data, "rb");
    size_t got = file ? fread(&rules, 1, sizeof(rules), file) : 0;

    if (file)
        fclose(file);
    if (got != sizeof(rules))
        return "cannot read the rules";
#ifdef WASM
    if (!wasm_ready) {
        wasm_rt_init();
        Z_filter_init_module();
        Z_filter_instantiate(&instance);
        wasm_ready = 1;
    }
    memcpy(Z_filterZ_memory(&instance)->data + Z_filterZ_rules(&instance), &rules, sizeof(rules));
#endif
    return NGX_CONF_OK;
}

static ngx_int_t init(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t *cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_http_handler_pt *h = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);

    if (!h)
        return NGX_ERROR;
    *h = handler;
    return NGX_OK;
}

static ngx_command_t commands[] = {
    {ngx_string("firewall_rules"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, set_rules, 0, 0, NULL},
    ngx_null_command};
static ngx_http_module_t context = {NULL, init, NULL, NULL, NULL, NULL, NULL, NULL};

ngx_module_t ngx_http_firewall_module = {NGX_MODULE_V1, &context, commands, NGX_HTTP_MODULE,
                                         NULL,          NULL,     NULL,     NULL,
                                         NULL,          NULL,     NULL,     NGX_MODULE_V1_PADDING};

/* What nginx looks for in a shared object. */
ngx_module_t *ngx_modules[] = {&ngx_http_firewall_module, NULL};
char *ngx_module_names[] = {"ngx_http_firewall_module", NULL};
char *ngx_module_order[] = {NULL};
