package dev.baton.transfer;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.PagedKv;
import java.util.Map;
import java.util.function.Consumer;

/// Makes one kind of connector; [KvConnectors#create] is the one that goes by `kv_connector`.
@FunctionalInterface
public interface KvConnectorFactory {
    /// Starts a connector over a pool that outlives it.
    ///
    /// @param pool where blocks are read from and written to; closed by its owner, after the connector
    /// @param compatibility what must be equal on both sides beyond the layout of the pool (tokenizer digest,
    ///     weights digest, RoPE scaling, ...), by field name
    /// @param sink takes events, from any thread; must return at once
    /// @throws TransferException if a setting is wrong or the port cannot be bound
    KvConnector create(
            KvTransferConfig config,
            KvCacheSpec spec,
            PagedKv pool,
            Map<String, String> compatibility,
            Consumer<KvEvent> sink);
}
