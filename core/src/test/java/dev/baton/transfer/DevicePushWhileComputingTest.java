package dev.baton.transfer;

/// The same where the decoder's device copies the blocks from the prefiller's.
class DevicePushWhileComputingTest extends PushWhileComputingTest {
    @Override
    boolean areOnDevices() {
        return true;
    }
}
