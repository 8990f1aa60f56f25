package dev.baton.transfer.lmcache;

import dev.baton.transfer.mooncakestore.MooncakeCluster;
import dev.baton.transfer.mooncakestore.MooncakeContract;
import java.util.Map;
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable;

/// LMCache's chunks in a Mooncake cluster; who only reads them does so in plain Java.
@EnabledIfEnvironmentVariable(
        named = "BATON_SLOW_TESTS",
        matches = "1",
        disabledReason = "45 s: set BATON_SLOW_TESTS=1; RealLmCacheMooncakeTest is always run")
class LmCacheMooncakeContractTest extends MooncakeContract {
    @Override
    protected String connector() {
        return LmCacheConnector.NAME;
    }

    @Override
    protected Map<String, Object> settings(MooncakeCluster cluster, Side side, String name) {
        Map<String, Object> settings = cluster.lmCacheSettings(BLOCK_TOKENS, true);
        settings.put("model_name", name);
        if (side == Side.DECODER) {
            settings.put("mooncake_home", "/nonexistent");
        }
        return settings;
    }
}
