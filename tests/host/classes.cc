/* SPDX-License-Identifier: MIT */
/* C++: what can be said by its prototype, what cannot. */
#include <map>
#include <string>
#include <vector>

struct plain {
    int a;
    long b;
};
struct owner {
    std::string inside;
};
namespace space
{
struct base {
    virtual ~base()
    {
    }
    int of_base;
};
struct derived : base {
    int own;
    static int count;
};
int derived::count = 3;
template <class T> struct box {
    T t;
};
} // namespace space

extern "C" {
__attribute__((noinline)) long ok_plain(plain p, int x)
{
    return p.a + p.b + x;
}
__attribute__((noinline)) long ok_reference(space::derived &d, const std::string &s)
{
    return d.own + (long)s.size();
}
__attribute__((noinline)) long ok_template(space::box<int> b, int x)
{
    return b.t + x;
}
__attribute__((noinline)) long odd_string(std::string s, int x)
{
    return (long)s.size() + x;
}
__attribute__((noinline)) long odd_inside(owner o, int x)
{
    return (long)o.inside.size() + x;
}
}
namespace space
{
__attribute__((noinline)) int named(derived *d)
{
    return d->own;
}
} // namespace space

int main(int argc, char **)
{
    space::derived d;
    std::map<int, std::vector<std::string>> m;

    m[argc].push_back("x");
    d.own = argc;
    return (int)(ok_plain({1, argc}, 2) + ok_reference(d, "a") + ok_template({argc}, 1) + odd_string("b", argc) +
                 odd_inside({"c"}, argc) + space::named(&d) + space::derived::count + (int)m.size());
}
