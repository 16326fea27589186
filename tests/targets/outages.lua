-- SPDX-License-Identifier: MIT
-- The outages of outages.bpf.c in Lua, inside nginx (LuaJIT). Nothing looks at them before they run.
local ffi = require("ffi")

local M = {}
local chain = {}
chain.parent = chain

-- Looks for the end of a chain, which is a ring.
function M.endless()
    local rounds, at = 0, chain
    while at do
        at, rounds = at.parent, rounds + 1
    end
    ngx.say(rounds)
end

-- Copies a body into a buffer of its own, as many bytes as there are. What lies behind the buffer is Lua's own heap.
function M.overflow()
    local body = ngx.req.get_body_data()
    local part = ffi.new("char[64]")
    ffi.copy(part, body, #body)
    ngx.say(part[0])
end

-- As deep as the body says, by each of the ways there are: a function that calls itself (Lua counts the stack of its own
-- that this takes), …
local function nested(depth)
    return depth == 0 and 0 or 1 + nested(depth - 1)
end

function M.deep()
    ngx.say(nested(#ngx.req.get_body_data()))
end

-- … a function that a function in C calls, which it called, …
local function called_back(depth)
    return depth == 0 and "0" or (string.gsub("x", "x", function() return called_back(depth - 1) end))
end

function M.deep_by_callback()
    ngx.say(called_back(#ngx.req.get_body_data()))
end

-- … and a pattern, whose every repetition is a call of PCRE's.
function M.deep_by_pattern()
    ngx.say(tostring(ngx.re.find(ngx.req.get_body_data(), "^(?:x|y)*z")))
end

return M
