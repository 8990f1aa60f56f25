package dev.baton.tokenizer;

import ai.djl.huggingface.tokenizers.jni.TokenizersLibrary;
import java.util.concurrent.locks.ReadWriteLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;

/// One native tokenizer, for encoding. Thread-safe; owns its native memory until [#close].
///
/// Calls DJL's native methods rather than its `HuggingFaceTokenizer`, which copies texts, offsets and masks
/// that Baton does not look at, and reports its use over the network.
final class NativeTokenizer implements AutoCloseable {
    private final TokenizersLibrary library;
    private final ReadWriteLock lock = new ReentrantReadWriteLock();
    private long handle;

    NativeTokenizer(String tokenizerJson) {
        library = NativeLibrary.load();
        handle = library.createTokenizerFromString(tokenizerJson);
        library.disableTruncation(handle);
        library.disablePadding(handle);
    }

    int[] encode(String text, boolean addSpecialTokens) {
        lock.readLock().lock();
        try {
            if (handle == 0) {
                throw new TokenizerException("the tokenizer is closed");
            }
            long encoding = library.encode(handle, text, addSpecialTokens);
            try {
                return toInts(library.getTokenIds(encoding));
            } finally {
                library.deleteEncoding(encoding);
            }
        } finally {
            lock.readLock().unlock();
        }
    }

    private static int[] toInts(long[] ids) {
        int[] ints = new int[ids.length];
        for (int i = 0; i < ids.length; i++) {
            ints[i] = (int) ids[i];
        }
        return ints;
    }

    @Override
    public void close() {
        lock.writeLock().lock();
        try {
            if (handle != 0) {
                library.deleteTokenizer(handle);
                handle = 0;
            }
        } finally {
            lock.writeLock().unlock();
        }
    }
}
