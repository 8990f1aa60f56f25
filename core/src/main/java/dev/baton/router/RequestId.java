package dev.baton.router;

import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;
import java.util.regex.Pattern;

/// The id of one request: what both legs carry, and what the client sees.
///
/// @param upstream `X-Request-Id` of both legs; unique also if a client uses an id twice
/// @param client `X-Request-Id` of the answer: the client's own if it sent an acceptable one
record RequestId(String upstream, String client) {
    static final String HEADER = "x-request-id";

    /// No `___`: P2pNcclConnector finds addresses in an id that has such marks, and a client must not choose them.
    private static final Pattern ACCEPTABLE = Pattern.compile("(?!.*___)[A-Za-z0-9._:-][A-Za-z0-9._:-]{0,99}");

    static RequestId from(Optional<String> header) {
        Optional<String> own = header.filter(id -> ACCEPTABLE.matcher(id).matches());
        if (own.isPresent()) {
            String suffix = String.format("%08x", ThreadLocalRandom.current().nextInt());
            return new RequestId(own.get() + "-" + suffix, own.get());
        }
        String id = UUID.randomUUID().toString();
        return new RequestId(id, id);
    }
}
