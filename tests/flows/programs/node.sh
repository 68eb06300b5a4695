# Requests parsed, compressed and cached; then workers that send each other what they made.
# needs: node
# exit: 6
node "$REPOSITORY/traces/programs/server.js"
node - <<'END'
const { Worker } = require("worker_threads");
const crypto = require("crypto"), zlib = require("zlib");
const source = `
const { parentPort, workerData } = require("worker_threads");
const rows = [];
for (let i = 0; i < 20000; i++) rows.push({ id: i, name: "row " + (i * workerData) % 997, bytes: Buffer.alloc(i % 300, i) });
parentPort.postMessage(JSON.stringify(rows));`;
const results = [1, 2, 3, 4].map((n) => new Promise((resolve) => new Worker(source, { eval: true, workerData: n }).on("message", resolve)));
Promise.all(results).then((texts) => {
  for (const text of texts) console.log(text.length, crypto.createHash("sha256").update(text).digest("hex"));
  const packed = texts.map((text) => zlib.brotliCompressSync(text, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 3 } }));
  console.log(packed.map((p) => zlib.brotliDecompressSync(p).length));
});
END
echo "Now one that fails."
node -e 'process.exit(6)'
