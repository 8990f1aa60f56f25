package dev.baton.transfer.mooncakestore;

import java.util.Map;

/// vLLM's blocks in a Mooncake cluster.
class MooncakeStoreContractTest extends MooncakeContract {
    @Override
    protected String connector() {
        return MooncakeStoreConnector.NAME;
    }

    @Override
    protected Map<String, Object> settings(MooncakeCluster cluster, Side side, String name) {
        Map<String, Object> settings = cluster.settings();
        settings.put("cache_prefix", name);
        return settings;
    }
}
