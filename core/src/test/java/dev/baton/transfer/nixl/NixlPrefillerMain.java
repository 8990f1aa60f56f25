package dev.baton.transfer.nixl;

import java.util.Map;
import java.util.stream.IntStream;

/// A prefiller in a process of its own: fills its pool, holds all of it as one request, prints where it listens and
/// under what handle, and waits until its input ends.
final class NixlPrefillerMain {
    static final long SEED = 11;

    private NixlPrefillerMain() {}

    public static void main(String[] args) throws Exception {
        try (NixlInstance prefiller = NixlInstance.prefiller(Map.of()).fill(SEED)) {
            int[] blocks = IntStream.range(0, 64).toArray();
            NixlSource source = NixlSource.of(prefiller.hold("r", blocks, 64 * NixlInstance.BLOCK_TOKENS));
            System.out.println("held " + source.peer().port() + " " + source.requestId());
            System.out.flush();
            int ended = System.in.read();
            prefiller.connector.worker().dropLease("r");
            prefiller.events.clear();
            System.out.println("ended " + ended);
        }
    }
}
