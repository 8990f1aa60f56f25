package dev.baton.transfer.mooncake;

import dev.baton.transfer.HandOffContract;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferParams;
import java.util.Map;

class MooncakeHandOffTest extends HandOffContract<MooncakeInstance> {
    @Override
    protected MooncakeInstance instance(KvRole role, String engineId, int blockTokens, int numBlocks) {
        return new MooncakeInstance(role, engineId, blockTokens, numBlocks, Map.of(), Map.of("tokenizer", "t1"));
    }

    @Override
    protected KvRequest prefillRequest(String id, int numTokens) {
        return MooncakeInstance.prefill(id, "x-" + id, numTokens);
    }

    @Override
    protected KvRequest decodeRequest(
            MooncakeInstance prefiller, String id, String prefillId, int numTokens, KvTransferParams answer) {
        return MooncakeInstance.decode(id, "x-" + prefillId, numTokens, prefiller.engineId, prefiller.bootstrap());
    }
}
