// The page says by itself when it is out of date. With #watch in its address it loads again every minute.
const root = document.documentElement, band = document.getElementById("stale"), loaded = Date.now();
function look() {
  if (band.hidden && Date.now() > Number(root.dataset.staleAfter) * 1000) {
    band.hidden = false;
    root.classList.add("old");
    document.title = "Out of date: " + document.title;
    document.querySelector("link[rel=icon]").href = root.dataset.oldIcon;
  }
  if (location.hash === "#watch" && Date.now() - loaded > 60000) location.reload();
}
look();
setInterval(look, 2000);
