package dev.baton.transfer.mooncakestore;

import dev.baton.tensor.PagedKv;
import dev.baton.transfer.mooncake.VllmLayout;
import dev.baton.transfer.mooncakestore.ObjectStore.Piece;
import dev.baton.transfer.store.BlockStore;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.LongAdder;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Blocks as values of a Mooncake cluster.
///
/// Shared with vLLM, a value is the block as vLLM has it, all layers one behind the other, and Baton's checksum
/// is a second value beside it, under `KEY@baton`; vLLM's own values have none. Otherwise a value is Baton's
/// block and its checksum in one. A value of another length, or that its checksum does not fit, was a miss.
/// Thread-safe.
final class MooncakeStore implements BlockStore<String>, AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(MooncakeStore.class);

    private static final String SUM = "@baton";
    private static final int ALIGNMENT = 64;
    /// Keys in one question.
    private static final int MAX_KEYS = 256;

    private final StoreClient client;
    private final PagedKv pool;
    private final Optional<VllmLayout> layout;
    private final String prefix;
    private final byte[] root;
    private final long model;
    private final long slotBytes;
    private final int slots;
    private final LongAdder bytesSaved = new LongAdder();
    private final LongAdder badBlocks = new LongAdder();

    /// @param prefix what keys begin with
    /// @param root the hash before the first block
    /// @param model digest of the model and the shape of its blocks
    /// @param areas how many threads load or save at a time
    MooncakeStore(
            ObjectStore.Opener opener,
            PagedKv pool,
            Optional<VllmLayout> layout,
            String prefix,
            byte[] root,
            long model,
            int areas,
            long stagingBytes) {
        this.pool = pool;
        this.layout = layout;
        this.prefix = prefix;
        this.root = root;
        this.model = model;
        this.slotBytes = Math.ceilDiv(pool.blockBytes() + BlockSum.BYTES, ALIGNMENT) * ALIGNMENT;
        this.slots = Math.clamp(stagingBytes / areas / slotBytes, 1, MAX_KEYS / 2);
        this.client = new StoreClient(opener, areas, slots * slotBytes);
    }

    /// Connects to the cluster.
    ///
    /// @throws IOException if it cannot be reached now; it is tried again when it is needed
    void connect() throws IOException {
        client.open();
    }

    @Override
    public List<String> names(int[] tokenIds, int numTokens) {
        return new VllmNames(prefix, root, tokenIds, numTokens, pool.blockTokens());
    }

    @Override
    public boolean mayHave(List<String> names, int index) {
        return true;
    }

    @Override
    public boolean asks() {
        return true;
    }

    @Override
    public boolean isKept(List<String> names, int index) {
        return false;
    }

    @Override
    public void load(List<String> names, Blocks target) throws IOException {
        int known = numKnown(names);
        boolean goesOn = true;
        for (int from = 0; from < known && goesOn; from += slots) {
            int first = from;
            int count = Math.min(slots, known - from);
            goesOn = client.use((store, area, offset) -> {
                long[] lengths = store.get(pieces(names, first, count, offset));
                for (int i = 0; i < count; i++) {
                    MemorySegment slot = area.asSlice(i * slotBytes, slotBytes);
                    if (!isRight(names.get(first + i), slot, lengths, i, count)
                            || !target.visit(first + i, block -> fromImage(slot, block))) {
                        return false;
                    }
                }
                return true;
            });
        }
    }

    /// How many blocks from the first on are there.
    private int numKnown(List<String> names) throws IOException {
        int known = 0;
        while (known < names.size()) {
            List<String> asked = List.copyOf(names.subList(known, Math.min(known + MAX_KEYS, names.size())));
            long[] found = client.use((store, _, _) -> store.exist(asked));
            for (long each : found) {
                if (each != 1) {
                    return known;
                }
                known++;
            }
        }
        return known;
    }

    /// Where blocks, and behind them their checksums if these are values of their own, are put from or read to.
    private List<Piece> pieces(List<String> names, int first, int count, long offset) {
        List<Piece> pieces = new ArrayList<>(2 * count);
        long bytes = layout.isPresent() ? pool.blockBytes() : pool.blockBytes() + BlockSum.BYTES;
        for (int i = 0; i < count; i++) {
            pieces.add(new Piece(names.get(first + i), offset + i * slotBytes, bytes));
        }
        for (int i = 0; i < count && layout.isPresent(); i++) {
            long at = offset + i * slotBytes + pool.blockBytes();
            pieces.add(new Piece(names.get(first + i) + SUM, at, BlockSum.BYTES));
        }
        return pieces;
    }

    private boolean isRight(String key, MemorySegment slot, long[] lengths, int index, int count) {
        if (lengths[index] < 0 && lengths[index] != StoreErrors.INVALID_PARAMS) {
            return false; // it has gone meanwhile
        }
        String wrong = wrong(key, slot, lengths[index], layout.isEmpty() ? BlockSum.BYTES : lengths[count + index]);
        if (!wrong.isEmpty()) {
            badBlocks.increment();
            LOG.warn("{} is not used: {}", key, wrong);
        }
        return wrong.isEmpty();
    }

    /// What is wrong with a value; empty if nothing is.
    ///
    /// @param sumLength what came of its checksum
    private String wrong(String key, MemorySegment slot, long length, long sumLength) {
        long expected = layout.isPresent() ? pool.blockBytes() : pool.blockBytes() + BlockSum.BYTES;
        if (length != expected) {
            return "it has not the %d bytes of a block here".formatted(expected);
        }
        if (sumLength == StoreErrors.OBJECT_NOT_FOUND) {
            return ""; // vLLM's own
        }
        MemorySegment sum = slot.asSlice(pool.blockBytes(), BlockSum.BYTES);
        return sumLength == BlockSum.BYTES && BlockSum.matches(sum, model, key, slot.asSlice(0, pool.blockBytes()))
                ? ""
                : "its checksum is wrong, or it is of another model";
    }

    @Override
    public void save(List<String> names, Blocks source) throws IOException {
        for (int from = 0; from < names.size(); from += MAX_KEYS) {
            List<String> asked = List.copyOf(names.subList(from, Math.min(from + MAX_KEYS, names.size())));
            long[] found = client.use((store, _, _) -> store.exist(asked));
            List<Integer> missing = new ArrayList<>();
            for (int i = 0; i < found.length; i++) {
                if (found[i] != 1) {
                    missing.add(from + i);
                }
            }
            for (int i = 0; i < missing.size(); i += slots) {
                if (!put(names, missing.subList(i, Math.min(i + slots, missing.size())), source)) {
                    return;
                }
            }
        }
    }

    /// @return false if the blocks belong to somebody else by now
    private boolean put(List<String> names, List<Integer> indexes, Blocks source) throws IOException {
        List<String> copied = new ArrayList<>(indexes.size());
        long[] results = client.use((store, area, offset) -> {
            for (int index : indexes) {
                MemorySegment slot = area.asSlice(copied.size() * slotBytes, slotBytes);
                if (!source.visit(index, block -> toImage(block, slot))) {
                    break;
                }
                String key = names.get(index);
                BlockSum.write(
                        slot.asSlice(pool.blockBytes(), BlockSum.BYTES),
                        model,
                        key,
                        slot.asSlice(0, pool.blockBytes()));
                copied.add(key);
            }
            return copied.isEmpty() ? new long[0] : store.put(pieces(copied, 0, copied.size(), offset));
        });
        for (int i = 0; i < copied.size(); i++) {
            StoreErrors.checkPut(results[i]);
            bytesSaved.add(pool.blockBytes());
        }
        return copied.size() == indexes.size();
    }

    private void toImage(int block, MemorySegment slot) {
        if (layout.isEmpty()) {
            MemorySegment.copy(pool.segment(), pool.blockOffsetBytes(block), slot, 0, pool.blockBytes());
            return;
        }
        long bytes = VllmLayout.imageBytes(pool);
        for (int layer = 0; layer < pool.layers(); layer++) {
            layout.get().toImage(pool, block, layer, slot.asSlice(layer * bytes, bytes));
        }
    }

    private void fromImage(MemorySegment slot, int block) {
        if (layout.isEmpty()) {
            MemorySegment.copy(slot, 0, pool.segment(), pool.blockOffsetBytes(block), pool.blockBytes());
            return;
        }
        long bytes = VllmLayout.imageBytes(pool);
        for (int layer = 0; layer < pool.layers(); layer++) {
            layout.get().fromImage(slot.asSlice(layer * bytes, bytes), pool, block, layer);
        }
    }

    @Override
    public long bytesSaved() {
        return bytesSaved.sum();
    }

    @Override
    public long numBadBlocks() {
        return badBlocks.sum();
    }

    /// Takes leave of the cluster.
    @Override
    public void close() {
        client.close();
    }
}
