// Requests parsed, routed, answered: buffers, strings, maps and a gzip round trip, as a small server would.
const zlib = require("zlib");
const cache = new Map();
let sum = 0;
for (let request = 0; request < 900; request++) {
  const body = Buffer.from(JSON.stringify({ id: request % 300, path: "/a/" + (request % 37), tags: Array(request % 20).fill("tag" + request) }));
  const packed = zlib.gzipSync(body);
  const parsed = JSON.parse(zlib.gunzipSync(packed).toString());
  cache.set(parsed.path + parsed.id, Buffer.alloc(200 + (request * 7919) % 9000));
  if (cache.size > 400) cache.delete(cache.keys().next().value);
  sum += parsed.tags.length;
}
console.log(sum);
