package dev.baton.grammar;

import java.util.Map;
import java.util.Optional;
import java.util.TreeSet;

/// The values of `format` for strings, as regular expressions over the string.
final class StringFormats {
    private static final String DATE = "(?:"
            + "[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
            + "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
            + "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)";
    private static final String TIME =
            "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?" + "(?:Z|[+-](?:0[0-9]|1[0-7]):[0-5][0-9])";
    private static final String LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
    private static final String SHORT_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,13}[A-Za-z0-9])?";
    /// At most 253 characters, whatever the labels.
    private static final String HOSTNAME =
            "(?:" + LABEL + "(?:\\." + LABEL + "){0,2}|" + SHORT_LABEL + "(?:\\." + SHORT_LABEL + "){0,14})";
    private static final String OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    private static final String IPV4 = OCTET + "(?:\\." + OCTET + "){3}";
    private static final String PCHAR = "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})";
    private static final String QUERY = "(?:\\?(?:" + PCHAR + "|[/?])*)?(?:#(?:" + PCHAR + "|[/?])*)?";
    private static final String AUTHORITY = "//(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*@)?"
            + "(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+(?::[0-9]{0,5})?";
    private static final String PATH = "(?:/" + PCHAR + "*)*";
    private static final String URI = "[A-Za-z][A-Za-z0-9+.-]*:(?:" + AUTHORITY + PATH + "|/(?:" + PCHAR + "+" + PATH
            + ")?|" + PCHAR + "+" + PATH + ")" + QUERY;
    private static final String SEGMENT_WITHOUT_COLON = "(?:[A-Za-z0-9._~!$&'()*+,;=@-]|%[0-9A-Fa-f]{2})+";
    private static final String POINTER = "(?:/(?:[^/~\\x00-\\x1f]|~[01])*)*";

    private static final Map<String, String> PATTERNS = Map.ofEntries(
            Map.entry("date", DATE),
            Map.entry("time", TIME),
            Map.entry("date-time", DATE + "T" + TIME),
            Map.entry(
                    "duration",
                    "P(?:[0-9]+W|(?:[0-9]+D|[0-9]+M(?:[0-9]+D)?|[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?)"
                            + "(?:T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S))?"
                            + "|T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S))"),
            Map.entry(
                    "email",
                    "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,32}(?:\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,15}){0,2}@(?:" + LABEL
                            + "|" + SHORT_LABEL + "(?:\\." + SHORT_LABEL + "){1,9})\\.[A-Za-z]{2,15}"),
            Map.entry("hostname", HOSTNAME),
            Map.entry("ipv4", IPV4),
            Map.entry("ipv6", ipv6()),
            Map.entry("uuid", "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"),
            Map.entry("uri", URI),
            Map.entry(
                    "uri-reference",
                    "(?:" + URI + "|(?:" + AUTHORITY + PATH + "|/(?:" + PCHAR + "+" + PATH + ")?|"
                            + SEGMENT_WITHOUT_COLON + PATH + ")?" + QUERY + ")"),
            Map.entry("json-pointer", POINTER),
            Map.entry("relative-json-pointer", "(?:0|[1-9][0-9]*)(?:#|" + POINTER + ")"));

    private StringFormats() {}

    static Optional<Expr> find(String format) {
        return Optional.ofNullable(PATTERNS.get(format)).map(RegexParser::parse);
    }

    static String names() {
        return String.join(", ", new TreeSet<>(PATTERNS.keySet()));
    }

    /// RFC 4291: eight groups, or fewer with one `::`, the last two also as an IPv4 address.
    private static String ipv6() {
        String h = "[0-9a-fA-F]{1,4}";
        StringBuilder result = new StringBuilder("(?:");
        String last = "(?:" + h + ":" + h + "|" + IPV4 + ")";
        result.append("(?:").append(h).append(":){6}").append(last);
        for (int before = 0; before <= 5; before++) {
            String left = before == 0 ? "" : "(?:(?:" + h + ":){0," + (before - 1) + "}" + h + ")?";
            int after = 5 - before;
            result.append('|').append(left).append("::");
            if (after > 0) {
                result.append("(?:").append(h).append(":){").append(after).append('}');
            }
            result.append(last);
        }
        result.append("|(?:(?:")
                .append(h)
                .append(":){0,5}")
                .append(h)
                .append(")?::")
                .append(h);
        result.append("|(?:(?:").append(h).append(":){0,6}").append(h).append(")?::");
        return result.append(')').toString();
    }
}
