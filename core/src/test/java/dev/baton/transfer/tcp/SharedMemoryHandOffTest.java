package dev.baton.transfer.tcp;

import dev.baton.transfer.HandOffContract;
import dev.baton.transfer.KvRole;
import java.util.Map;

class SharedMemoryHandOffTest extends HandOffContract<TestInstance> {
    @Override
    protected TestInstance instance(KvRole role, String engineId, int blockTokens, int numBlocks) {
        return TestInstance.sharing(role, engineId, blockTokens, numBlocks, Map.of());
    }
}
