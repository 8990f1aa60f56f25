package dev.baton.transfer.tcp;

import dev.baton.transfer.HandOffContract;
import dev.baton.transfer.KvRole;

class TcpHandOffTest extends HandOffContract<TestInstance> {
    @Override
    protected TestInstance instance(KvRole role, String engineId, int blockTokens, int numBlocks) {
        return new TestInstance(role, engineId, blockTokens, numBlocks, TestInstance.PATIENT);
    }
}
