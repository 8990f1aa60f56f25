package dev.baton.transfer.tcp;

import java.util.OptionalLong;

/// How fast blocks of one prefiller have been copied lately. Thread-safe.
final class CopyRate {
    /// Copies of less say more of their beginning than of the link.
    static final long LEAST_BYTES = 16 << 20;
    private static final double NEWEST = 0.25;

    private double nanosPerByte; // guarded by this; 0 while nothing is known

    /// Learns from a copy that was alone.
    synchronized void measured(long bytes, long nanos) {
        if (bytes >= LEAST_BYTES) {
            double latest = Math.max(1, nanos) / (double) bytes;
            nanosPerByte = nanosPerByte == 0 ? latest : nanosPerByte + NEWEST * (latest - nanosPerByte);
        }
    }

    /// What a copy would take; empty if nothing is known.
    synchronized OptionalLong nanos(long bytes) {
        return nanosPerByte == 0 ? OptionalLong.empty() : OptionalLong.of((long) (bytes * nanosPerByte));
    }
}
