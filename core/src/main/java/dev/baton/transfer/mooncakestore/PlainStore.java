package dev.baton.transfer.mooncakestore;

import dev.baton.transfer.mooncake.StoredValues;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;

/// Reads without Mooncake's library; values cannot be put. Thread-safe.
final class PlainStore implements ObjectStore {
    private final StoredValues values;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment memory;

    /// Opens clients of a master.
    record Opener(MooncakeAccess access) implements ObjectStore.Opener {
        @Override
        public ObjectStore open(long memoryBytes) throws IOException {
            StoredValues values =
                    new StoredValues(access.cluster().masterHost(), access.metricsPort(), access.operationTimeout());
            Optional<StoredValues.Place> _ = values.find("baton"); // it answers
            return new PlainStore(values, memoryBytes);
        }

        @Override
        public String describe() {
            return "reads in plain Java, the master's HTTP port being %d".formatted(access.metricsPort());
        }

        @Override
        public boolean writes() {
            return false;
        }
    }

    private PlainStore(StoredValues values, long memoryBytes) {
        this.values = values;
        this.memory = arena.allocate(memoryBytes, 64);
    }

    @Override
    public MemorySegment memory() {
        return memory;
    }

    @Override
    public long[] exist(List<String> keys) throws IOException {
        long[] found = new long[keys.size()];
        for (int i = 0; i < found.length; i++) {
            found[i] = values.find(keys.get(i)).isPresent() ? 1 : 0;
            if (found[i] == 0) {
                break; // who asks looks no further
            }
        }
        return found;
    }

    @Override
    public long[] put(List<Piece> pieces) throws IOException {
        throw new IOException("values cannot be put without Mooncake's library");
    }

    @Override
    public long[] get(List<Piece> pieces) throws IOException {
        long[] lengths = new long[pieces.size()];
        try (StoredValues.Reader reader = values.reader()) {
            for (int i = 0; i < lengths.length; i++) {
                Piece piece = pieces.get(i);
                Optional<StoredValues.Place> place = values.find(piece.key());
                if (place.isEmpty()) {
                    lengths[i] = StoreErrors.OBJECT_NOT_FOUND;
                } else if (place.get().length() > piece.length()) {
                    lengths[i] = StoreErrors.INVALID_PARAMS;
                } else {
                    lengths[i] = place.get().length();
                    reader.read(
                            place.get(),
                            memory.asSlice(piece.offset(), lengths[i]).asByteBuffer());
                }
            }
        }
        return lengths;
    }

    @Override
    public void abort() {
        // every wait has a deadline
    }

    @Override
    public void close() {
        arena.close();
    }
}
