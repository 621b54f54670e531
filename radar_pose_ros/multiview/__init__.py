"""``radar-pose multiview``: from videos of several cameras, or keypoints, to poses in space."""
