package dev.baton.transfer.p2p;

/// With PUT_ASYNC: prefillers push all that they have computed.
class P2pPushContractTest extends P2pContractTest {
    @Override
    P2pOptions.SendType sendType() {
        return P2pOptions.SendType.PUT_ASYNC;
    }

    @Override
    protected boolean isSelective() {
        return false;
    }
}
