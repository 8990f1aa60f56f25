package dev.baton.transfer.mooncakestore;

import java.io.IOException;

/// What Mooncake's negative results mean, by its `types.h`. Stateless.
final class StoreErrors {
    /// There is no room in the cluster.
    static final long NO_AVAILABLE_HANDLE = -200;

    /// The value is longer than the memory for it.
    static final long INVALID_PARAMS = -600;

    static final long OBJECT_NOT_FOUND = -704;

    private static final long FIRST_OF_OBJECTS = -100;
    private static final long LAST_OF_OBJECTS = -899;

    private StoreErrors() {}

    /// Looks whether a value was put.
    ///
    /// @throws IOException if not
    static void checkPut(long result) throws IOException {
        if (result != 0) {
            throw new IOException(
                    result == NO_AVAILABLE_HANDLE
                            ? "there is no room in the cluster"
                            : "Mooncake answers %d to a put".formatted(result));
        }
    }

    /// Looks whether results are about single objects: missing, too long, on a node that is gone.
    ///
    /// @throws IOException if one is about the connection to the cluster
    static long[] check(long[] results) throws IOException {
        for (long result : results) {
            if (result < 0 && (result > FIRST_OF_OBJECTS || result < LAST_OF_OBJECTS)) {
                throw new IOException("Mooncake's client answers %d: the master cannot be reached".formatted(result));
            }
        }
        return results;
    }
}
