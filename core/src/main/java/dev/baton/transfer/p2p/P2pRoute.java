package dev.baton.transfer.p2p;

import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// The two instances of a hand-off, as a request's id names them:
/// `___prefill_addr_HOST:PORT___decode_addr_HOST:PORT_UUID`, anything around it.
record P2pRoute(Endpoint prefiller, Endpoint decoder) {
    private static final int MAX_ID_CHARS = 512;
    private static final Pattern ADDRESSES =
            Pattern.compile("___prefill_addr_([^_\\s]{1,200}):(\\d{1,5})___decode_addr_([^_\\s]{1,200}):(\\d{1,5})_");

    /// The addresses in an id; empty if it has none, which makes it a request of one instance's own.
    static Optional<P2pRoute> of(String externalId) {
        if (externalId.length() > MAX_ID_CHARS) {
            return Optional.empty();
        }
        Matcher matcher = ADDRESSES.matcher(externalId);
        if (!matcher.find()) {
            return Optional.empty();
        }
        try {
            return Optional.of(new P2pRoute(
                    Endpoint.of(matcher.group(1), matcher.group(2)), Endpoint.of(matcher.group(3), matcher.group(4))));
        } catch (IllegalArgumentException e) {
            return Optional.empty();
        }
    }
}
