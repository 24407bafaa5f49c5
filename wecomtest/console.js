"use strict";
// What changes is fetched once a second, while somebody looks.
setInterval(async () => {
  const live = document.getElementById("live");
  if (document.hidden || live.contains(document.activeElement)) return;
  const response = await fetch(location).catch(() => null);
  if (!response || !response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.getElementById("live");
  if (fresh && fresh.innerHTML !== live.innerHTML) live.innerHTML = fresh.innerHTML;
}, 1000);
