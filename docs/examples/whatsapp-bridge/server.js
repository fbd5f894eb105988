'use strict';
// Starts the bridge. Configuration is in the environment; see README.md.

const { createBridge } = require('./src/bridge');

const host = process.env.HOST || '127.0.0.1';
const port = Number(process.env.PORT || 3000);
const bridge = createBridge({ url: process.env.WA_URL || 'wss://chat.example/ws' });

bridge.listen(port, host, () => {
  const at = bridge.address();
  console.log(`bridge listening on http://${at.address}:${at.port}`);
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    bridge.shutdown();
    bridge.close(() => process.exit(0));
  });
}
