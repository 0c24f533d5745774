/** Keeps the files of one build: all of them or none, so that page, model and vocabulary always belong together. */

// Written in by the build: {version, files}. Another build has another version, and with it another cache.
const { version, files } = __CACHE__;
const PREFIX = "chemkd-";
const CACHE = PREFIX + version;

self.addEventListener("install", (event) => {
  // "no-cache" asks the server whether the copy that the page has just read is still good: no second download.
  const requests = files.map((file) => new Request(file, { cache: "no-cache" }));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(requests)));
});

// Not before the page asks for it: a page that is being loaded must not get half of its files from another build.
self.addEventListener("message", (event) => event.data === "take over" && self.skipWaiting());

self.addEventListener("activate", (event) => {
  event.waitUntil(dropOlder().then(() => self.clients.claim()));
});

async function dropOlder() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== CACHE).map((name) => caches.delete(name)));
}

self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answer(event.request));
});

async function answer(request) {
  const cache = await caches.open(CACHE);
  return (await cache.match(request, { ignoreSearch: true })) ?? fetch(request);
}
