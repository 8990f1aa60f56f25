package dev.baton.transfer.tcp;

import dev.baton.transfer.HandOffContract;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.PushParams;

/// The contract with prompts that the decoder asks for by their transfer's id.
class TcpPushHandOffTest extends HandOffContract<TestInstance> {
    @Override
    protected TestInstance instance(KvRole role, String engineId, int blockTokens, int numBlocks) {
        return new TestInstance(role, engineId, blockTokens, numBlocks, TestInstance.PATIENT);
    }

    @Override
    protected KvRequest prefillRequest(String id, int numTokens) {
        return new KvRequest(id, id, new int[numTokens], PushParams.prefill("xfer-" + id));
    }

    @Override
    protected KvRequest decodeRequest(
            TestInstance prefiller, String id, String prefillId, int numTokens, KvTransferParams answer) {
        KvTransferParams params = PushParams.decode(
                "xfer-" + prefillId,
                String.valueOf(answer.fields().get("remote_engine_id")),
                PushParams.port(prefiller.connector));
        return new KvRequest(id, id, new int[numTokens], params);
    }
}
