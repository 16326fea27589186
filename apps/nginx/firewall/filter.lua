-- SPDX-License-Identifier: MIT
-- The same filter in Lua (LuaJIT, inside nginx), to compare with. The rules are read once a worker.
local rules = {}

local M = {}

function M.load(path)
    for line in io.lines(path) do
        local field, how, text = line:match("^(%a+)%s+(%a+)%s+(.+)$")
        if field == "uri" or field == "args" or field == "agent" then
            rules[#rules + 1] = {field = field, begins = how == "begins", text = text:gsub("\\s", " "):lower()}
        end
    end
end

local find = string.find

function M.look()
    local args = ngx.var.args
    local text = {
        uri = ngx.var.uri:sub(1, 512):lower(),
        args = args and ngx.unescape_uri(args:sub(1, 512)):lower(),
        agent = (ngx.var.http_user_agent or ""):sub(1, 512):lower(),
    }
    for k = 1, #rules do
        local rule = rules[k]
        local of = text[rule.field]
        if of then
            local at = find(of, rule.text, 1, true)
            if at and (not rule.begins or at == 1) then
                return ngx.exit(403)
            end
        end
    end
end

return M
