package dev.baton.transfer.nixl;

import java.util.Arrays;

/// Pieces of memory to read, each with its place here and its place on the peer. Not thread-safe.
final class Descriptors {
    private long[] local = new long[64];
    private long[] remote = new long[64];
    private long[] lengths = new long[64];
    private int size;
    private long numBytes;

    /// Adds a piece; lengthens the last one instead where both sides go on from it, as NIXL takes time for each.
    /// Only within memory that is registered as one.
    void append(long localAddress, long remoteAddress, long length) {
        int last = size - 1;
        if (size > 0 && local[last] + lengths[last] == localAddress && remote[last] + lengths[last] == remoteAddress) {
            lengths[last] += length;
            numBytes += length;
        } else {
            add(localAddress, remoteAddress, length);
        }
    }

    void add(long localAddress, long remoteAddress, long length) {
        if (size == local.length) {
            local = Arrays.copyOf(local, 2 * size);
            remote = Arrays.copyOf(remote, 2 * size);
            lengths = Arrays.copyOf(lengths, 2 * size);
        }
        local[size] = localAddress;
        remote[size] = remoteAddress;
        lengths[size++] = length;
        numBytes += length;
    }

    int size() {
        return size;
    }

    long numBytes() {
        return numBytes;
    }

    long local(int i) {
        return local[i];
    }

    long remote(int i) {
        return remote[i];
    }

    long length(int i) {
        return lengths[i];
    }
}
