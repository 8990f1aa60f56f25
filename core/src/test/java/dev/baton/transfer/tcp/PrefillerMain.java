package dev.baton.transfer.tcp;

import dev.baton.transfer.KvRole;
import dev.baton.transfer.RemotePrefill;
import java.util.Map;
import java.util.stream.IntStream;

/// A prefiller in a process of its own: fills its pool, holds all of it as one request, prints where it listens and
/// under what handle, and waits until its input ends.
final class PrefillerMain {
    static final int BLOCKS = 32;
    static final int BLOCK_TOKENS = 2048; // 1 MiB a block: more in all than sockets hold
    static final long SEED = 11;

    private PrefillerMain() {}

    public static void main(String[] args) throws Exception {
        boolean shares = args.length > 0 && args[0].equals("shared");
        try (TestInstance prefiller = shares
                ? TestInstance.sharing(KvRole.KV_PRODUCER, "prefiller-1", BLOCK_TOKENS, BLOCKS, Map.of())
                : TestInstance.prefiller(BLOCK_TOKENS, BLOCKS, Map.of())) {
            prefiller.fill(SEED);
            RemotePrefill params =
                    prefiller.hold("r", IntStream.range(0, BLOCKS).toArray(), BLOCKS * BLOCK_TOKENS);
            System.out.println(params.port() + " " + params.requestId());
            System.in.read();
            prefiller.worker().dropLease("r");
            prefiller.events.clear();
        }
    }
}
