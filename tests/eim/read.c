/* SPDX-License-Identifier: MIT */
/*
 * Specifications, good and bad: every refusal with its line and column, the order of files that never shows,
 * and what is printed that reads as the same.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "eim/eim.h"
#include "eim/tree.h"

static int look_up(void *self, bool group, const char *name, u32 *ret)
{
    if (strcmp(name, group ? "staff" : "www-ops") != 0)
        return -ENOENT;
    *ret = group ? 50 : 33;
    return 0;
}
static const struct tn_eim_options options = {.look_up = look_up};

/* One file of the host "h" around a piece. */
#define HEAD "eim: 1\nhost: h\n"
#define SPEC                                                                                                 \
    HEAD "state_capabilities:\n  - { name: readPid, operation: read(pid) }\n"                                \
         "function_capabilities:\n"                                                                          \
         "  - { name: finish, function: fin, prototype: \"void (struct request *r, int rc)\" }\n"            \
         "extension_entries:\n"                                                                              \
         "  - { name: access, extension_entry: acc, prototype: \"int (struct request *r)\" }\n"
#define CLASS(allowed)                                                                                       \
    SPEC "extension_classes:\n- name: c\n  extension_entry: access\n  allowed: [ " allowed " ]\n"
#define OK "instructions < 10, "

#define SAID(constraints)                                                                                    \
    HEAD "function_capabilities: [ { name: f, function: x, constraints: [ " constraints " ] } ]\n"

static int read_one(const char *text, u64 len, char **ret_print, struct tn_error *err)
{
    struct tn_eim_source s = {.name = "a.yaml", .text = text, .len = len};
    struct tn_eim *eim = NULL;
    size_t size;
    FILE *f;
    int code;

    *err = (struct tn_error){0};
    code = tn_eim_read(&s, 1, &options, &eim, err);
    if (code) {
        assert_null(eim);
        assert_true(*err->reason && *err->message);
        return code;
    }
    if (ret_print) {
        f = open_memstream(ret_print, &size);
        assert_true(tn_eim_print(eim, tn_eim_host_name(eim, 0), f));
        fclose(f);
    }
    tn_eim_free(eim);
    return 0;
}

static const struct {
    const char *what, *text, *says;
} refused[] = {
    {"nothing", "", "a.yaml: the file is empty; expected a mapping that begins with \"eim: 1\""},
    {"a text alone", "hello", "a.yaml:1:1: expected a specification, a mapping, not a text"},
    {"no version", "host: h\n", "a.yaml:1:1: a specification needs the key \"eim\""},
    {"another version", "eim: 2\nhost: h\n",
     "a.yaml:1:6: \"eim\": expected 1, the version of the language, not \"2\""},
    {"no host", "eim: 1\n", "needs the key \"host\""},
    {"a binary that lies somewhere", "eim: 1\nhost: { name: h, binary: bin/h }\n",
     "a.yaml:2:26: \"binary\": expected a path from the root, as in /usr/sbin/nginx, not \"bin/h\""},
    {"an unknown key", HEAD "state_capabilites: []\n",
     "a.yaml:3:1: a specification has no key \"state_capabilites\": expected one of eim, host, "
     "state_capabilities, "
     "function_capabilities, extension_entries, extension_classes, defaults; did you mean "
     "\"state_capabilities\"?"},
    {"a key twice", HEAD "eim: 1\n",
     "a.yaml:3:1: key \"eim\" stands here a second time; the first is on line 1"},
    {"a tab", HEAD "defaults:\n\tuprobe: denied\n", "a.yaml:4:1: a tab: expected spaces"},
    {"a tab behind letters of two bytes", "# \xc3\xa4\xc3\xb6\t\n" HEAD, "a.yaml:1:5: a tab"},
    {"no YAML", HEAD "defaults: { uprobe: denied\n",
     "a.yaml:4:1: this is not YAML: did not find expected ',' or '}'"},
    {"no UTF-8", HEAD "# \xff\n", "a.yaml: this is no text in UTF-8"},
    {"a list for a mapping", HEAD "defaults: [ a ]\n",
     "a.yaml:3:11: \"defaults\": expected a mapping, as in { uprobe: observability }, not a list"},
    {"a mapping for a list", HEAD "state_capabilities: { a: b }\n",
     "a.yaml:3:21: \"state_capabilities\": expected a list of mappings, not a mapping"},
    {"a text in a list of mappings", HEAD "state_capabilities: [ a ]\n",
     "a.yaml:3:23: \"state_capabilities\": expected a mapping in the list, not \"a\""},
    {"nothing for a list", HEAD "state_capabilities:\n",
     "\"state_capabilities\": expected a list of mappings; nothing stands here"},
    {"a mapping for a name", HEAD "state_capabilities: [ { name: {}, operation: read(a) } ]\n",
     "a.yaml:3:31: \"name\": expected a name"},
    {"a key that is no word", HEAD "[ a ]: b\n", "a.yaml:3:1: a key is a word, not a list"},
    {"a second document", HEAD "---\neim: 1\nhost: g\n", "a.yaml:3:1: a second document begins here"},
    {"an anchor", "eim: 1\nhost: &h x\n", "a.yaml:2:7: anchors are not taken"},
    {"an alias", "eim: 1\nhost: *h\n", "a.yaml:2:7: aliases are not taken"},
    {"a billion laughs",
     "a: &a [ x, x, x, x, x, x, x, x, x ]\nb: &b [ *a, *a, *a, *a, *a, *a, *a, *a, *a ]\n"
     "c: &c [ *b, *b, *b, *b, *b, *b, *b, *b, *b ]\n",
     "a.yaml:1:4: anchors are not taken"},
    {"a tag", "eim: !!int 1\nhost: h\n", "a.yaml:1:6: tags are not taken"},
    {"a merge", HEAD "<<: { a: b }\n", "a.yaml:3:1: mappings are not merged"},
    {"too deep", "[[[[[[[[[[[[[[[[[[[[ x ]]]]]]]]]]]]]]]]]]]]", "a.yaml:1:17: this lies too deep"},
    {"a NUL", "eim: 1\nhost: \"a\\0b\"\n", "a.yaml:2:7: a text cannot hold a character that does not show"},
    {"a host with spaces", "eim: 1\nhost: a b\n", "a.yaml:2:7: \"host\": expected a name"},
    {"a host without a name", "eim: 1\nhost: { binary: /b }\n", "a.yaml:2:7: a host needs the key \"name\""},
    {"an unknown default", HEAD "defaults: { uprobe: observabilty }\n",
     "a.yaml:3:21: expected denied, observability or customizability, not \"observabilty\"; did you mean "
     "\"observability\"?"},
    {"a capability twice",
     HEAD "state_capabilities:\n  - { name: a, operation: read(a) }\n  - { name: a, operation: read(b) }\n",
     "a.yaml:5:13: state capability \"a\" is there already, at a.yaml:4:13"},
    {"a name for a state and a function",
     HEAD "state_capabilities: [ { name: a, operation: read(a) } ]\nfunction_capabilities: [ { name: a, "
          "function: f } ]\n",
     "a.yaml:4:34: a capability \"a\" is there already, at a.yaml:3:31"},
    {"a system call that is not there",
     HEAD "extension_classes: [ { name: c, extension_entry: \"sysenter:opnat\", allowed: [ instructions < 9 "
          "] } ]\n",
     "a.yaml:3:50: there is no system call \"opnat\"; did you mean \"openat\"?"},
    {"two relations that cannot both hold", SAID("\"level < 8\", \"level > 9\""),
     "a.yaml:3:79: \"x\" contradicts itself: this about level cannot hold together with what stands at "
     "a.yaml:3:66"},
    {"… the other way round", SAID("\"9 < level\", \"8 >= level\""), "this about level cannot hold together"},
    {"… in one text", SAID("\"rtn > 0 and rtn < 0\""),
     "a.yaml:3:78: \"x\" contradicts itself: this about rtn"},
    {"… of the result", SAID("\"rtn > 0\", \"rtn < 0\""), "this about rtn cannot hold together"},
    {"… under not", SAID("\"not (level < 8 or o == NULL)\", \"level == 7\""), "this about level cannot hold"},
    {"one number, and not that one", SAID("\"level != 4\", \"level >= 4\", \"level <= 4\""),
     "a.yaml:3:66: \"x\" contradicts itself: this about level"},
    {"a size", SAID("\"size(o) < 8\", \"size(o) == 8\""), "this about size(o) cannot hold together"},
    {"there, and maybe not", SAID("nonnull(o), nullable(o)"),
     "a.yaml:3:77: \"x\" contradicts itself: this about o cannot hold together with what stands at "
     "a.yaml:3:65"},
    {"there, and NULL", SAID("\"o == NULL\", nonnull(o)"), "this about o cannot hold together"},
    {"a result that is there, and may not be", SAID("nullable(rtn), \"rtn != NULL\""),
     "this about rtn cannot hold"},
    {"one function, two names, other constraints",
     HEAD "function_capabilities:\n- { name: f, function: x, constraints: [ \"rtn > 0\", IO ] }\n"
          "- { name: g, function: x, constraints: [ IO ] }\n",
     "a.yaml:5:11: x is function capability \"f\" already, at a.yaml:4:11, and what is said of it there is "
     "not the "
     "same: \"rtn > 0\" stands at one place alone"},
    {"one entry, two names, which cannot both hold",
     HEAD "extension_entries:\n- { name: f, extension_entry: x, constraints: [ nonnull(o) ] }\n"
          "- { name: g, extension_entry: x, constraints: [ \"o == NULL\" ] }\n",
     "a.yaml:5:50: \"x\" contradicts itself: this about o cannot hold together with what stands at "
     "a.yaml:4:49"},
    {"a name with a meaning", HEAD "state_capabilities: [ { name: replace, operation: read(a) } ]\n",
     "a.yaml:3:31: \"replace\" has a meaning already"},
    {"a helper's name", HEAD "function_capabilities: [ { name: bpf_loop, function: f } ]\n",
     "\"bpf_loop\" has a meaning already"},
    {"a name of two words", HEAD "function_capabilities: [ { name: a.b, function: f } ]\n",
     "\"a.b\": the name of a capability is a word"},
    {"an operation of another kind", HEAD "state_capabilities: [ { name: a, operation: replace } ]\n",
     "a.yaml:3:45: \"operation\": expected read(VARIABLE) or write(VARIABLE), not \"replace\""},
    {"an unknown entry",
     SPEC "extension_classes:\n- { name: c, extension_entry: acess, allowed: [ instructions < 9 ] }\n",
     "a.yaml:10:31: host \"h\" has no extension entry \"acess\"; did you mean \"access\"?"},
    {"an unknown generated entry",
     SPEC "extension_classes:\n- { name: c, extension_entry: \"uprob:f\", allowed: [ instructions < 9 ] }\n",
     "a.yaml:10:31: no generated entry begins with \"uprob:\": expected uprobe, uretprobe, sysenter or "
     "sysexit; did you mean \"uprobe\"?"},
    {"a class without instructions", CLASS("readPid"), "a.yaml:10:9: class \"c\" allows no instruction"},
    {"a class of the house",
     SPEC "extension_classes:\n- { name: observability, extension_entry: access, allowed: [ instructions < 9 "
          "] }\n",
     "a.yaml:10:11: \"observability\" is a class that every host has"},
    {"two limits", CLASS("instructions < 10, instructions < 20"),
     "a.yaml:12:33: class \"c\" has two limits of one kind: \"instructions < 20\" here and \"instructions < "
     "10\" at a.yaml:12:14"},
    {"a capability granted twice", CLASS(OK "readPid, readPid"),
     "a.yaml:12:42: capability \"readPid\" is there already, at a.yaml:12:33"},
    {"one in two spellings", CLASS(OK "read(r->a), 'read ( r -> a )'"),
     "capability \"read(r->a)\" is there already"},
    {"an unknown capability", CLASS(OK "readPit"),
     "a.yaml:12:33: host \"h\" has no state or function capability \"readPit\", and no helper has that name; "
     "did you mean \"readPid\"?"},
    {"an unknown helper", CLASS(OK "bpf_ktime_get_nss"), "did you mean \"bpf_ktime_get_ns\"?"},
    {"an unknown group", CLASS(OK "helpers(locl)"),
     "a.yaml:12:33: no group of helpers is called \"locl\": expected local, shared, result, kernel; did you "
     "mean \"local\"?"},
    {"an unknown form", CLASS(OK "reed(r)"),
     "a.yaml:12:33: no capability begins with \"reed\"; did you mean \"read\"?"},
    {"no path", CLASS(OK "read()"),
     "a.yaml:12:38: expected the name of an argument, a variable or a type, not \")\""},
    {"no parenthesis", CLASS(OK "\"read(r->a\""),
     "a.yaml:12:43: expected \")\" after the path; the capability ends here"},
    {"a path that ends", CLASS(OK "read(r->)"), "a.yaml:12:41: expected the name of a field, not \")\""},
    {"an index of letters", CLASS(OK "\"read(r->a[n])\""),
     "a.yaml:12:44: expected a number, \"..\" for all, or a range as in [0 .. n], not \"n\""},
    {"a range of nothing", CLASS(OK "\"read(r->a[4 .. 4])\""),
     "a.yaml:12:49: [4 .. 4] names nothing: the end is not part of a range"},
    {"a range that stops", CLASS(OK "\"read(r->a[4 .. ])\""),
     "expected a number, or the field that has the length, not \"]\""},
    {"something behind", CLASS(OK "read(r) write(r)"),
     "a.yaml:12:41: expected the end of the capability, not \"write\""},
    {"a limit of nothing", CLASS("instructions < 0"), "a.yaml:12:29: nothing is less than that"},
    {"a limit upwards", CLASS("instructions > 9"), "a.yaml:12:27: expected \"<\" and a limit, not \">\""},
    {"a limit without a number", CLASS("instructions < many"),
     "a.yaml:12:29: expected a number or inf, not \"many\""},
    {"an unknown unit", CLASS("instructions < 9, memory < 1 MB"),
     "a.yaml:12:43: expected KiB, MiB or GiB, or nothing for bytes, not \"MB\""},
    {"a number with a unit stuck to it", CLASS("instructions < 10k"),
     "\"10k\" is no number; a unit stands after a space"},
    {"a number of many digits", CLASS("instructions < 99999999999999999999"), "the number is too large"},
    {"a product of many digits", CLASS("instructions < 9, memory < 99999999999 GiB"),
     "the number is too large"},
    {"a character", CLASS(OK "read(r;a)"), "a.yaml:12:39: \";\" has no meaning in a capability"},
    {"somebody who is nobody", CLASS(OK "readPid") "  who: [ \"uid:nobody-here\" ]\n",
     "a.yaml:13:10: there is no user \"nobody-here\" on this machine"},
    {"somebody without a kind", CLASS(OK "readPid") "  who: [ www-ops ]\n",
     "a.yaml:13:10: \"who\": expected \"uid:\" or \"gid:\""},
    {"a number that is none", CLASS(OK "readPid") "  who: [ \"uid:12x\" ]\n",
     "\"12x\" is no number of a user"},
    {"nobody", CLASS(OK "readPid") "  who: []\n", "a.yaml:13:8: \"who\" admits nobody"},
#define F(prototype, constraint)                                                                             \
    HEAD "function_capabilities:\n- { name: a, function: f, prototype: \"" prototype                         \
         "\", constraints: [ \"" constraint "\" ] }\n"
    {"an address that is none", HEAD "function_capabilities:\n- { name: a, function: f, address: 4393 }\n",
     "a.yaml:4:36: \"address\": expected an address of the binary, as in \"0x1189\", not \"4393\""},
    {"an address without a build",
     HEAD "function_capabilities:\n- { name: a, function: f, address: \"0x10\" }\n",
     "a.yaml:4:36: an address is one of a build, and no file says which"},
    {"a prototype without arguments", F("int", "IO"), "a.yaml:4:42: expected \"(\" and the arguments"},
    {"a prototype that stops", F("int (int a", "IO"),
     "a.yaml:4:49: expected \")\" after the arguments; the prototype ends here"},
    {"a void argument", F("int (void a)", "IO"), "a.yaml:4:44: an argument cannot be void"},
    {"two types at once", F("int (short char a)", "IO"), "a.yaml:4:50: expected one type, not \"char\""},
    {"two arguments of one name", F("int (int a, int a)", "IO"), "two arguments have the name \"a\""},
    {"any number of arguments", F("int (char *a, ...)", "IO"),
     "functions with a variable number of arguments cannot be called safely"},
    {"seventeen arguments",
     F("int (int,int,int,int,int,int,int,int,int,int,int,int,int,int,int,int,int)", "IO"),
     "sixteen arguments at most"},
    {"five stars", F("int (int *****a)", "IO"), "four \"*\" at most"},
    {"a fact that is none", F("int (int a)", "nonnul(a)"),
     "a.yaml:4:69: \"nonnul\" is neither a fact nor followed by a relation (< <= > >= == !=); did you mean "
     "\"nonnull\"?"},
    {"a fact about nothing", F("int (int a)", "nonnull()"),
     "a.yaml:4:77: expected rtn, an argument, a number or a fact, not \")\""},
    {"a fact with one of two", F("int (char *a, int n)", "sized(a)"),
     "expected \",\" and a second argument, not \")\""},
    {"a fact with something", F("int (int a)", "IO(a)"),
     "expected no argument: this fact is about the function, not \"(\""},
    {"a fact about a number", F("int (int a)", "frees(3)"), "a.yaml:4:75: expected the name of an argument"},
    {"a fact under or", F("int (int a)", "IO or a > 3"),
     "a.yaml:4:69: \"IO\" is a fact: it stands alone or under \"and\""},
#define ONCE(constraint)                                                                                     \
    HEAD "function_capabilities:\n- { name: once, function: once, constraints: [ not_reentrant ] }\n"        \
         "- { name: often, function: often }\nextension_entries:\n"                                          \
         "- { name: e, extension_entry: begin, constraints: [ \"" constraint "\" ] }\n"
    {"outside() of a function that is called", F("int (int a)", "outside(f)"),
     "outside() is said of an extension entry"},
    {"outside() of a path", ONCE("outside(a->b)"), "a.yaml:7:62: expected the name of a function"},
    {"outside() of nothing", ONCE("outside"), "and the name of a function"},
    {"outside() of a function that nobody offers", ONCE("outside(onec)"),
     "a.yaml:7:62: host \"h\" has no function capability for a function \"onec\"; did you mean \"once\"?"},
    {"outside() of a function that may be called whenever", ONCE("outside(often)"),
     "a.yaml:7:62: often may be called while it runs: it is not not_reentrant"},
    {"outside() of the entry's own function", ONCE("outside(begin)"),
     "a.yaml:7:62: entry \"e\" is begin itself"},
    {"outside() under or", ONCE("outside(once) or nonnull(r)"), "\"outside\" is a fact"},
    {"an unknown argument", F("int (char *name)", "nonnull(nmae)"),
     "a.yaml:4:82: the prototype has no argument \"nmae\"; did you mean \"name\"?"},
    {"a relation of one side", F("int (int a)", "a >"),
     "expected rtn, an argument, a number or a fact; the constraint ends here"},
    {"a relation of three", F("int (int a)", "0 < a < 9"),
     "a.yaml:4:75: expected the end of the constraint, not \"<\""},
    {"an open parenthesis", F("int (int a)", "(a < 9"), "expected \")\"; the constraint ends here"},
    {"a number that is too large", F("int (int a)", "a < 9223372036854775808"), "the number is too large"},
};

static void test_refused(void **state)
{
    u32 wrong = 0;

    for (size_t k = 0; k < TN_ARRAY_SIZE(refused); k++) {
        const char *says = refused[k].says;
        struct tn_error err;

        if (!read_one(refused[k].text, strlen(refused[k].text), NULL, &err) || !strstr(err.message, says)) {
            print_error("%s:\n  says     %s\n  expected %s\n", refused[k].what,
                        *err.message ? err.message : "nothing: it is accepted", says);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

/* ------------------------------------------------------------------------------------------------- good */

static const char *const nginx_spec =
    "eim: 1\n"
    "host: { name: nginx, binary: /usr/sbin/nginx, types: nginx_types.h }\n"
    "state_capabilities:\n"
    "  - { name: readPid, operation: read(ngx_pid) }\n"
    "  - { name: readTime, operation: \"read(ngx_cached_time->sec)\" }      # ngx_time() is a macro over it\n"
    "function_capabilities:\n"
    "  - { name: finalizeRequest, function: ngx_http_finalize_request,\n"
    "      prototype: \"void (ngx_http_request_t *r, ngx_int_t rc)\", constraints: [ \"nonnull(r)\" ] }\n"
    "extension_entries:\n"
    "  - { name: accessPhase, extension_entry: ngx_http_core_access_phase,\n"
    "      prototype: \"ngx_int_t (ngx_http_request_t *r, ngx_http_phase_handler_t *ph)\" }\n";
static const char *const nginx_policy =
    "eim: 1\n"
    "host: nginx\n"
    "extension_classes:\n"
    "  - name: observeAccess\n"
    "    extension_entry: accessPhase\n"
    "    allowed: [ \"instructions < 10000\", \"memory < 1 MiB\", readTime, readPid, \"read(r->uri.len)\" ]\n"
    "  - name: firewall\n"
    "    extension_entry: accessPhase\n"
    "    allowed: [ \"instructions < 50000\", \"read(r->uri.data[0 .. r->uri.len])\",\n"
    "               \"read(r->args.data[0 .. r->args.len])\", finalizeRequest, replace ]\n"
    "    who: [ \"uid:www-ops\" ]\n"
    "defaults: { uprobe: observability, syscall: observability }   # everything else: denied\n";
static const char *const others[] = {
    "eim: 1\nhost: nginx\nextension_classes:\n- name: probe\n  extension_entry: \"uprobe:ngx_close\"\n"
    "  allowed: [ instructions <= 0x10, memory < inf, read(arguments), read(process), helpers(local),\n"
    "             helpers(shared), bpf_probe_read_user, IO, \"read(*r->next[0].list[..])\", 'write(r->a[1 .. "
    "3])' ]\n"
    "  who: [ \"gid:staff\", \"uid:1000\" ]\n",
    "eim: 1\nhost: redis\nfunction_capabilities:\n- name: everything\n  function: f\n"
    "  prototype: \"const unsigned long long *f (struct a *restrict x, enum b, union c **y, char z[4], int "
    "(*cb)(void *, int), void *p)\"\n"
    "  constraints: [ \"nonnull(x) and (p == NULL or size(p) >= 8) and not z == NULL\", IO, allocates, "
    "\"sized(p, x->len)\",\n"
    "                 \"reads(x->a.b)\", may_sleep, nothrow, not_reentrant, \"rtn != NULL && !(rtn == "
    "NULL)\", \"x->n "
    "<= -0x10\" ]\n",
    "eim: 1\nhost: { name: redis, build_id: 00ff }\n",
    "eim: 1\nhost: nginx\ndefaults: { uprobe: observability, uretprobe: denied }\n",
};

static void print_all(const struct tn_eim_source *s, u32 n, char **ret)
{
    struct tn_error err = {0};
    struct tn_eim *eim;
    size_t size;
    FILE *f = open_memstream(ret, &size);

    if (tn_eim_read(s, n, &options, &eim, &err)) {
        fprintf(f, "refused: %s\n", err.message);
    } else {
        for (u32 k = 0; tn_eim_host_name(eim, k); k++)
            tn_eim_print(eim, tn_eim_host_name(eim, k), f);
        tn_eim_free(eim);
    }
    fclose(f);
}

static u32 permute(struct tn_eim_source *s, u32 n, u32 k, const char *expected)
{
    u32 count = 0;

    if (k == n) {
        char *text;

        print_all(s, n, &text);
        assert_string_equal(text, expected);
        free(text);
        return 1;
    }
    for (u32 i = k; i < n; i++) {
        struct tn_eim_source t = s[k];

        s[k] = s[i];
        s[i] = t;
        count += permute(s, n, k + 1, expected);
        s[i] = s[k];
        s[k] = t;
    }
    return count;
}

static void test_order(void **state)
{
    struct tn_eim_source s[7] = {{"spec.yaml", nginx_spec, strlen(nginx_spec), NULL, NULL},
                                 {"policy.yaml", nginx_policy, strlen(nginx_policy), NULL, NULL}};
    static const char *const clashes[] = {
        "eim: 1\nhost: nginx\ndefaults: { uprobe: denied }\n",
        ("eim: 1\nhost: nginx\nextension_classes: [ { name: probe, extension_entry: accessPhase, allowed: [ "
         "instructions < 1 ] } ]\n"),
        "eim: 1\nhost: { name: nginx, binary: /opt/nginx }\n",
        "eim: 1\nhost: { name: another, binary: /usr/sbin/nginx }\n",
        "eim: 1\nhost: nginx\nwhat: ever\n",
    };
    char *text;

    for (u32 k = 0; k < 4; k++)
        s[2 + k] = (struct tn_eim_source){"x.yaml", others[k], strlen(others[k]), NULL, NULL};
    print_all(s, 6, &text);
    assert_null(strstr(text, "refused"));
    assert_non_null(strstr(text, "name: firewall"));
    assert_int_equal(permute(s, 6, 0, text), 720);
    free(text);
    for (u32 k = 0; k < TN_ARRAY_SIZE(clashes); k++) {
        s[6] =
            (struct tn_eim_source){k % 2 ? "a.yaml" : "z.yaml", clashes[k], strlen(clashes[k]), NULL, NULL};
        print_all(s, 7, &text);
        assert_non_null(strstr(text, "refused"));
        assert_int_equal(permute(s, 7, 0, text), 5040);
        free(text);
    }
}

static void test_round_trip(void **state)
{
    const char *texts[TN_ARRAY_SIZE(others) + 1];
    char *policy_and_spec;

    assert_true(asprintf(&policy_and_spec, "%s%s", nginx_spec, strstr(nginx_policy, "extension_classes")) >
                0);
    texts[0] = policy_and_spec;
    for (u32 k = 0; k < TN_ARRAY_SIZE(others); k++)
        texts[k + 1] = others[k];
    for (u32 k = 0; k < TN_ARRAY_SIZE(texts); k++) {
        char *once, *twice;
        struct tn_error err;

        if (read_one(texts[k], strlen(texts[k]), &once, &err))
            fail_msg("%s", err.message);
        if (read_one(once, strlen(once), &twice, &err))
            fail_msg("%s\n%s", err.message, once);
        assert_string_equal(once, twice);
        if (k == 2)
            assert_non_null(strstr(once, "union c **y"));
        free(once);
        free(twice);
    }
    free(policy_and_spec);
}

/* Annotations and files together. */
static void test_notes(void **state)
{
    const char *constraints[] = {"nonnull(r)", "rtn > 0"}, *bad[] = {"rtn >"};
    struct tn_note rows[] = {
        {.kind = TN_NOTE_ENTRY,
         .where = "h.c:5",
         .name = "access",
         .what = "acc",
         .constraints = constraints,
         .nconstraints = 1},
        {.kind = TN_NOTE_STATE, .where = "h.c:6", .name = "readPid", .what = "pid->x"},
        {.kind = TN_NOTE_STATE, .where = "h.c:7", .name = "writePid", .what = "pid", .write = true},
        {.kind = TN_NOTE_FUNCTION,
         .where = "h.c:8",
         .name = "fin",
         .what = "f",
         .constraints = constraints,
         .nconstraints = 2},
    };
    struct tn_notes notes = {.rows = rows, .n = 4};
    const char *policy =
        HEAD "extension_classes: [ { name: c, extension_entry: access, allowed: [ instructions < 9, "
             "readPid, writePid, fin ] } ]\n";
    struct tn_eim_source s[] = {{.name = "h", .notes = &notes, .host = "h"},
                                {"p.yaml", policy, strlen(policy), NULL, NULL}};
    const struct tn_eim_options none = {.notes_elsewhere = true},
                                other = {.notes_elsewhere = true, .host = "g"},
                                this = {.notes_elsewhere = true, .host = "h"};
    struct tn_error err = {0};
    struct tn_eim *eim;
    char *text;

    print_all(s, 2, &text);
    assert_non_null(strstr(text, "operation: \"write(pid)\""));
    assert_non_null(strstr(text, "constraints: [ \"nonnull(r)\" ]"));
    assert_non_null(strstr(text, "constraints: [ \"nonnull(r)\", \"rtn > 0\" ]"));
    free(text);
    print_all(s + 1, 1, &text);
    assert_non_null(strstr(text, "p.yaml:3:50: host \"h\" has no extension entry \"access\""));
    free(text);
    /* Before the host is seen, and while another is looked at. */
    assert_int_equal(tn_eim_read(s + 1, 1, &none, &eim, &err), 0);
    tn_eim_free(eim);
    assert_int_equal(tn_eim_read(s + 1, 1, &other, &eim, &err), 0);
    tn_eim_free(eim);
    assert_int_equal(tn_eim_read(s + 1, 1, &this, &eim, &err), -EINVAL);
    rows[3].constraints = bad;
    rows[3].nconstraints = 1;
    print_all(s, 2, &text);
    assert_non_null(strstr(text, "h.c:8:1: expected rtn, an argument"));
    free(text);
}

/* A policy of two hosts, one of which is annotated: read for either, and for nobody in particular. */
static void test_notes_elsewhere(void **state)
{
    struct tn_note row = {.kind = TN_NOTE_ENTRY, .where = "h.c:1", .name = "access", .what = "acc"};
    const struct tn_notes notes = {.rows = &row, .n = 1};
    const char *policy = HEAD "extension_classes: [ { name: c, extension_entry: access, allowed: [ "
                              "instructions < 9, readPid ] } ]\n";
    struct tn_eim_source s[] = {{"p.yaml", policy, strlen(policy), NULL, NULL},
                                {.name = "h", .notes = &notes, .host = "h"}};
    struct tn_eim_options o = {.look_up = look_up, .notes_elsewhere = true};
    struct tn_error err = {0};
    struct tn_eim *eim = NULL;

    assert_int_equal(tn_eim_read(s, 1, &o, &eim, &err), 0);
    assert_true(tn_eim_governs(eim, "h"));
    tn_eim_free(eim);
    o.host = "another";
    assert_int_equal(tn_eim_read(s, 1, &o, &eim, &err), 0);
    tn_eim_free(eim);
    o.host = "h"; /* its notes are those that are there: none */
    assert_int_equal(tn_eim_read(s, 1, &o, &eim, &err), -EINVAL);
    assert_non_null(strstr(err.message, "p.yaml:3:50: host \"h\" has no extension entry \"access\""));
    err = (struct tn_error){0};
    o.host = NULL; /* where something is said of what it offers, all of it is */
    assert_int_equal(tn_eim_read(s, 2, &o, &eim, &err), -EINVAL);
    assert_non_null(strstr(err.message, "capability \"readPid\""));
}

static void test_sizes(void **state)
{
    struct tn_error err;
    char *big = malloc(TN_YAML_BYTES_MAX + 2);
    u64 n;

    assert_non_null(big);
    memset(big, '#', TN_YAML_BYTES_MAX + 1);
    assert_int_equal(read_one(big, TN_YAML_BYTES_MAX + 1, NULL, &err), -E2BIG);
    n = (u64)sprintf(big, HEAD "state_capabilities: [");
    while (n < TN_YAML_BYTES_MAX - 8) {
        memcpy(big + n, "a,", 2);
        n += 2;
    }
    big[n++] = ']';
    assert_int_equal(read_one(big, n, NULL, &err), -E2BIG);
    assert_non_null(strstr(err.message, "too many parts"));
    free(big);
}

/* A policy of which only the first bytes are written yet: nothing is read of it, or it governs its host. */
static void test_half_written(void **state)
{
    const u64 whole = strlen(nginx_policy),
              head = (u64)(strstr(nginx_policy, "extension_classes") - nginx_policy);
    u32 governs = 0;

    for (u64 n = 0; n <= whole; n++) {
        struct tn_eim_source s[] = {{"spec.yaml", nginx_spec, strlen(nginx_spec), NULL, NULL},
                                    {"policy.yaml", nginx_policy, n, NULL, NULL}};
        struct tn_error err = {0};
        struct tn_eim *eim;

        if (tn_eim_read(s + 1, 1, &(struct tn_eim_options){.notes_elsewhere = true}, &eim, &err))
            continue;
        if (n + 1 >= head) {
            assert_true(tn_eim_governs(eim, "nginx"));
            governs++;
        }
        tn_eim_free(eim);
    }
    assert_true(governs > 10);
}

/* What together may hold. */
static void test_no_contradiction(void **state)
{
    static const char *const fine[] = {
        SAID("\"level < 8\", \"level > 6\", \"level != 8\", \"level >= 7\""),
        SAID("\"level < 8 or level > 9\", \"level == 10\""),
        SAID("\"level < 8\", \"other > 9\""),
        SAID("\"level > 9223372036854775807\", \"level >= -9223372036854775808\""),
        SAID("\"a->b < 8\", \"a->c > 8\""),
        SAID("nullable(o), nonnull(p), \"o == NULL or level > 3\""),
        SAID("\"level != 4\", \"level != 5\", \"level <= 5\""),
        HEAD "extension_entries:\n- { name: f, extension_entry: x, constraints: [ nonnull(o) ] }\n"
             "- { name: g, extension_entry: x, constraints: [ nonnull(p) ] }\n",
        HEAD "function_capabilities:\n- { name: f, function: x, constraints: [ \"rtn > 0\", IO ] }\n"
             "- { name: g, function: x, constraints: [ IO, \"rtn>0\" ] }\n",
    };

    for (size_t k = 0; k < sizeof(fine) / sizeof(*fine); k++) {
        struct tn_error err;

        if (read_one(fine[k], strlen(fine[k]), NULL, &err))
            fail_msg("%s", err.message);
    }
}

static void test_governs(void **state)
{
    struct tn_eim_source s[] = {{"spec.yaml", nginx_spec, strlen(nginx_spec), NULL, NULL},
                                {"policy.yaml", nginx_policy, strlen(nginx_policy), NULL, NULL}};
    struct tn_error err = {0};
    struct tn_eim *eim;

    assert_int_equal(tn_eim_read(s, 1, &options, &eim, &err), 0);
    assert_true(tn_eim_governs(eim, "nginx"));
    tn_eim_free(eim);
    assert_int_equal(tn_eim_read(s, 2, &options, &eim, &err), 0);
    assert_true(tn_eim_governs(eim, "nginx"));
    assert_false(tn_eim_governs(eim, "redis"));
    tn_eim_free(eim);
    assert_int_equal(tn_eim_read(NULL, 0, &options, &eim, &err), 0);
    assert_null(tn_eim_host_name(eim, 0));
    tn_eim_free(eim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_notes),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_governs),
        cmocka_unit_test(test_notes_elsewhere),
        cmocka_unit_test(test_half_written),
        cmocka_unit_test(test_no_contradiction),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
