package dev.baton.transfer.mooncakestore;

import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable;

/// The same through Mooncake's library in this process.
@EnabledIfEnvironmentVariable(
        named = "MOONCAKE_HOME",
        matches = ".+",
        disabledReason = "MOONCAKE_HOME does not name a folder with libmooncake_store.so, which no package has")
class NativeStoreContractTest extends MooncakeStoreContractTest {
    @BeforeAll
    static void loadLibrary() {
        MooncakeCluster.loadLibrary();
    }

    @Override
    protected Map<String, Object> settings(MooncakeCluster cluster, Side side, String name) {
        Map<String, Object> settings = super.settings(cluster, side, name);
        settings.put("mooncake_home", MooncakeCluster.sharedObject().getParent().toString());
        return settings;
    }
}
