// SPDX-License-Identifier: MIT
// The same filter in njs, to compare with. njs runs this text again for every request: the rules are written into it, in
// place of RULES, and not read.
var rules = RULES;

function decoded(text) {
    try {
        return decodeURIComponent(text.replace(/\+/g, ' '));
    } catch (e) {
        return text;
    }
}

function blocked(r) {
    var text = {
        uri: r.uri.slice(0, 512).toLowerCase(),
        args: decoded((r.variables.args || '').slice(0, 512)).toLowerCase(),
        agent: (r.headersIn['User-Agent'] || '').slice(0, 512).toLowerCase()
    };

    for (var k = 0; k < rules.length; k++) {
        var at = text[rules[k].field].indexOf(rules[k].text);

        if (at === 0 || (at > 0 && !rules[k].begins)) {
            return '1';
        }
    }
    return '';
}

export default {blocked};
