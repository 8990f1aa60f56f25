package dev.baton.transfer.lmcache;

import dev.baton.metrics.Metrics;
import dev.baton.transfer.TransferException;
import java.io.Closeable;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;

/// The tiers of one connector, nearest first: memory, disk, and the store that is shared with others.
///
/// Thread-safe.
final class Tiers implements Closeable {
    private static final int LM_DEFAULT_PORT = 65432;

    private final List<GuardedTier> tiers;
    private final Optional<GuardedTier> memory; // one of the tiers
    private final Optional<CpuTier> cpu; // what is behind it

    private Tiers(List<GuardedTier> tiers, Optional<GuardedTier> memory, Optional<CpuTier> cpu) {
        this.tiers = tiers;
        this.memory = memory;
        this.cpu = cpu;
    }

    /// Tiers without prefill and decode; see below.
    static Tiers of(LmCacheOptions options, int maxKeyBytes, Counters counters) {
        return of(options, counters, Optional.empty(), remote(options, maxKeyBytes), false);
    }

    /// @param receiver where chunks of prefillers arrive
    /// @param remote the store of `remote_url`; it belongs to the tiers, or is closed
    /// @param mayBeNone whether there need be no tier
    /// @throws TransferException if a tier cannot be had, or there is none
    static Tiers of(
            LmCacheOptions options,
            Counters counters,
            Optional<Tier> receiver,
            Optional<Tier> remote,
            boolean mayBeNone) {
        List<GuardedTier> tiers = new ArrayList<>();
        receiver.ifPresent(tier -> tiers.add(new GuardedTier(tier, counters)));
        Optional<GuardedTier> memory = Optional.empty();
        Optional<CpuTier> cpu = Optional.empty();
        try {
            if (options.localCpuBytes() > 0) {
                cpu = Optional.of(new CpuTier(options.localCpuBytes()));
                memory = Optional.of(new GuardedTier(cpu.get(), counters));
                tiers.add(memory.get());
            }
            options.localDisk()
                    .ifPresent(folder ->
                            tiers.add(new GuardedTier(new DiskTier(folder, options.localDiskBytes()), counters)));
            remote.ifPresent(tier -> tiers.add(new GuardedTier(tier, counters)));
        } catch (TransferException e) {
            tiers.forEach(GuardedTier::close);
            remote.ifPresent(Tier::close);
            throw e;
        }
        if (tiers.isEmpty() && !mayBeNone) {
            throw new TransferException(
                    "LMCacheConnectorV1 has nowhere to keep chunks: set local_cpu, local_disk or remote_url");
        }
        return new Tiers(List.copyOf(tiers), memory, cpu);
    }

    /// For tests.
    static Tiers of(List<Tier> tiers, Counters counters) {
        return new Tiers(
                tiers.stream().map(tier -> new GuardedTier(tier, counters)).toList(),
                Optional.empty(),
                Optional.empty());
    }

    /// What the memory holds, under LMCache's names.
    void addTo(Metrics metrics) {
        cpu.map(CpuTier::memory).ifPresent(chunks -> {
            metrics.gauge("lmcache:local_cache_usage", "Bytes of chunks in memory.", chunks::usedBytes);
            metrics.gauge("lmcache:local_cpu_hot_cache_count", "Chunks in memory.", chunks::numChunks);
            metrics.counter("lmcache:local_cpu_evict_keys_count", "Chunks that went to make room.", chunks::numEvicted);
        });
    }

    /// The store of `remote_url`; for a Mooncake cluster see [MooncakeTierOptions].
    ///
    /// @param maxKeyBytes bytes of the longest key
    /// @throws TransferException if there is no such store, or it takes no such keys
    static Optional<Tier> remote(LmCacheOptions options, int maxKeyBytes) {
        return options.remoteUrl().map(url -> remote(url, options.blockingTimeout(), maxKeyBytes));
    }

    private static Tier remote(String url, Duration timeout, int maxKeyBytes) {
        String scheme = url.replaceFirst("://.*", "://");
        return switch (scheme) {
            case LmTier.SCHEME -> {
                if (maxKeyBytes > Limits.LM_KEY_BYTES) {
                    throw new TransferException(
                            "keys of this model have up to %d bytes, lm:// takes %d; give a shorter model_name"
                                    .formatted(maxKeyBytes, Limits.LM_KEY_BYTES));
                }
                yield new LmTier(ServerAddress.parse(url, LM_DEFAULT_PORT), timeout);
            }
            case RedisTier.SCHEME -> new RedisTier(ServerAddress.parse(url, RedisTier.DEFAULT_PORT), timeout);
            case FsTier.SCHEME -> new FsTier(url);
            default ->
                throw new TransferException(
                        "remote_url begins with \"%s\"; this version has lm://, redis://, fs:// and mooncakestore://"
                                .formatted(scheme));
        };
    }

    /// Reads a chunk from the nearest tier that has it, and keeps it in memory from then on.
    boolean get(String key, ChunkHead expected, MemorySegment target) {
        for (GuardedTier tier : tiers) {
            if (tier.get(key, expected, target)) {
                if (memory.isPresent() && memory.get() != tier) {
                    boolean _ = memory.get().put(key, expected, target);
                }
                return true;
            }
        }
        return false;
    }

    boolean contains(String key) {
        return tiers.stream().anyMatch(tier -> tier.contains(key));
    }

    /// Whether there is nothing to look into.
    boolean isNone() {
        return tiers.isEmpty();
    }

    /// The tiers that have not got a chunk.
    List<GuardedTier> missing(String key) {
        return tiers.stream().filter(tier -> !tier.contains(key)).toList();
    }

    /// The chunks of one prompt were used: the first of them are to be evicted last, since without them the others
    /// are of no use.
    void touch(List<String> keys) {
        tiers.forEach(tier -> tier.touch(keys.reversed()));
    }

    /// For the start banner.
    String describe() {
        return tiers.stream().map(GuardedTier::name).collect(Collectors.joining(", "));
    }

    /// Calls under way and later ones fail within moments; see [#close].
    void disconnect() {
        tiers.forEach(GuardedTier::disconnect);
    }

    /// Gives the memory back, once nobody uses the tiers any more.
    @Override
    public void close() {
        tiers.forEach(GuardedTier::close);
    }
}
